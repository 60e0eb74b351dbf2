# shellcheck shell=bash
# The files in deploy/: rendered, validated, and as far as it goes without a cluster, run. Sourced by tests/run.
# shellcheck disable=SC2154 # `kustomize`, `deploy_venv` and `postgres_bin` are set by needs.sh.

# Schemas to validate with: what is old but supported, and the newest that the validator has.
readonly kubernetes_versions=(1.34 1.37)

deploy_dir=
deploy_pid=
metrics_port=

step_deploy() {
    if failed build; then
        echo 'not run: the build failed'
        return 1
    fi
    if [[ -z $kustomize || -z $deploy_venv ]]; then
        echo 'not run: tools are missing'
        return 1
    fi
    deploy_dir=$(mktemp -d "${TMPDIR:-/tmp}/usher-deploy.XXXXXX") && remove_at_exit "$deploy_dir"
    local status=0 part
    for part in dockerfile manifests alerts compose settings sqlite postgres; do
        printf -- '-- %s\n' "$part"
        "deploy_$part" || {
            echo "$part: FAILED"
            status=1
        }
    done
    return "$status"
}

deploy_py() {
    "$deploy_venv/bin/python" tests/lib/deploy.py "$@"
}

deploy_dockerfile() {
    run "$deploy_venv/bin/hadolint" deploy/Dockerfile
}

deploy_manifests() {
    local overlay files=(deploy/kubernetes/examples/*.yaml) version status=0
    for overlay in deploy/kubernetes/overlays/*/; do
        overlay=$(basename "$overlay")
        # shellcheck disable=SC2086 # a command and its argument
        run $kustomize "deploy/kubernetes/overlays/$overlay" >"$deploy_dir/$overlay.yaml" || return 1
        files+=("$deploy_dir/$overlay.yaml")
    done
    for version in "${kubernetes_versions[@]}"; do
        run "$deploy_venv/bin/kubernetes-validate" --strict --quiet -k "$version" "${files[@]}" || status=1
    done
    # Until calls are over, and then 15 s for mails in hand and 10 s for the last traces and metrics.
    local stop
    stop=$(sed -n 's/^drain_\(lead_\)\{0,1\}seconds = //p' deploy/kubernetes/base/usher.toml | paste -sd + | sed 's/$/+25/')
    deploy_py pods "$((stop))" "${files[@]}" || status=1
    ((status)) || echo "${#files[@]} files are valid for Kubernetes ${kubernetes_versions[*]}"
    return "$status"
}

# The rules as Prometheus reads them, whether they fire when they should, and the same for its operator.
deploy_alerts() {
    if [[ -z $promtool ]]; then
        echo 'not run: there is no promtool'
        return 1
    fi
    run "$promtool" check rules deploy/alerts.yaml || return 1
    cp deploy/alerts.yaml tests/lib/alerts_test.yaml "$deploy_dir" || return 1
    run "$promtool" test rules "$deploy_dir/alerts_test.yaml" || return 1
    # shellcheck disable=SC2086 # a command and its argument
    run $kustomize deploy/kubernetes/monitoring >"$deploy_dir/monitoring.yaml" || return 1
    deploy_py rules deploy/alerts.yaml "$deploy_dir/monitoring.yaml"
}

# What a running server says, against what Prometheus expects and the alerts ask for.
deploy_metrics() {
    python3 - "$metrics_port" >"$deploy_dir/metrics" <<'PYTHON' || return 1
import sys
import urllib.request

with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/metrics", timeout=10) as page:
    sys.stdout.write(page.read().decode())
PYTHON
    "$promtool" check metrics <"$deploy_dir/metrics" || return 1
    deploy_py names deploy/alerts.yaml "$deploy_dir/metrics" deploy/README.md
}

deploy_compose() {
    deploy/compose/make-secrets "$deploy_dir/secrets" >/dev/null || return 1
    run target/debug/usher config check --config "$deploy_dir/secrets/usher.toml" >/dev/null || return 1
    deploy_py compose deploy/compose.yaml || return 1
    if docker compose version >/dev/null 2>&1; then
        run docker compose --file deploy/compose.yaml config --quiet
    else
        echo 'there is no docker compose: the file was parsed and checked by our own rules only'
    fi
}

# The table in the runbook is what the program says; and it takes the files that we show.
deploy_settings() {
    deploy_py table deploy/README.md >"$deploy_dir/table" || return 1
    run target/debug/usher config settings >"$deploy_dir/settings" || return 1
    if ! diff -u "$deploy_dir/table" "$deploy_dir/settings"; then
        echo 'the table in deploy/README.md differs from `usher config settings`: put its output there'
        return 1
    fi
    deploy_secrets || return 1
    local file status=0
    deploy_py config "$deploy_dir/postgres.yaml" >"$deploy_dir/rendered.toml" || return 1
    for file in deploy/usher.example.toml "$deploy_dir/rendered.toml"; do
        deploy_relocate <"$file" >"$deploy_dir/usher.toml"
        # With variables of the Service in the environment, as without `enableServiceLinks: false`.
        run env USHER_MAIL_SMTP_PASSWORD_FILE="$deploy_dir/run/usher/mail/password" USHER_PORT=tcp://10.0.0.1:50051 USHER_SERVICE_HOST=10.0.0.1 \
            target/debug/usher config check --config "$deploy_dir/usher.toml" >"$deploy_dir/said" || status=1
        grep -qx 'the configuration is right' "$deploy_dir/said" || status=1
    done
    ((status)) && cat "$deploy_dir/said"
    return "$status"
}

# Certificates as the runbook makes them, where the configuration expects them.
deploy_secrets() {
    [[ -e $deploy_dir/run/usher/tls ]] && return
    deploy_py block certificates deploy/README.md >"$deploy_dir/certificates.sh" || return 1
    mkdir -p "$deploy_dir/certs"
    run env CERTS="$deploy_dir/certs" bash -euo pipefail "$deploy_dir/certificates.sh" >"$deploy_dir/log" 2>&1 || {
        cat "$deploy_dir/log"
        return 1
    }
    mkdir -p "$deploy_dir"/run/usher/{tls,cluster,mail}
    cp "$deploy_dir"/certs/server.crt "$deploy_dir/run/usher/tls/tls.crt"
    cp "$deploy_dir"/certs/server.key "$deploy_dir/run/usher/tls/tls.key"
    cp "$deploy_dir"/certs/ca.crt "$deploy_dir/run/usher/tls/"
    cp "$deploy_dir"/certs/ca.crt "$deploy_dir/run/usher/cluster/"
    echo made-up >"$deploy_dir/run/usher/cluster/token"
    echo made-up >"$deploy_dir/run/usher/mail/password"
}

deploy_relocate() {
    sed "s#\"/run/usher/#\"$deploy_dir/run/usher/#"
}

# The configuration that Kubernetes would mount, the commands of the runbook, its backup and its restore.
deploy_sqlite() {
    local database=$deploy_dir/usher.db status=0
    deploy_first_permission sqlite USHER_DATABASE_URL="sqlite:$database" USHER_DATABASE_MIGRATE=true &&
        deploy_metrics &&
        deploy_sqlite_sql "VACUUM INTO '$deploy_dir/backup.db'" || status=1
    deploy_stop || status=1
    if ((status == 0)); then
        rm -f "$database-wal" "$database-shm"
        mv "$deploy_dir/backup.db" "$database"
        deploy_restored sqlite USHER_DATABASE_URL="sqlite:$database" || status=1
    fi
    deploy_stop || status=1
    ((status == 0)) || tail -n 20 "$deploy_dir/log"
    return "$status"
}

# As before, with the migration first, as the Job runs it.
deploy_postgres() {
    if [[ -z ${USHER_TEST_POSTGRES_URL:-} ]]; then
        echo 'not run: there is no PostgreSQL'
        return 1
    fi
    local url=${USHER_TEST_POSTGRES_URL%/*}/usher_deploy file=$deploy_dir/url status=0
    echo "$url" >"$file"
    run "$postgres_bin/psql" -qXc 'CREATE DATABASE usher_deploy' "$USHER_TEST_POSTGRES_URL" || return 1
    if USHER_DATABASE_URL_FILE=$file run timeout 20 target/debug/usher serve >"$deploy_dir/said" 2>&1 ||
        ! grep -q 'run `usher migrate`' "$deploy_dir/said"; then
        echo 'a server starts on a database without its migrations, or does not say what to do:'
        cat "$deploy_dir/said"
        return 1
    fi
    USHER_DATABASE_URL_FILE=$file run target/debug/usher migrate || return 1
    deploy_first_permission postgres USHER_DATABASE_URL_FILE="$file" &&
        run "$postgres_bin/pg_dump" --format=custom --dbname="$url" --file="$deploy_dir/usher.dump" || status=1
    deploy_stop || status=1
    if ((status == 0)); then
        run "$postgres_bin/pg_restore" --clean --if-exists --dbname="$url" "$deploy_dir/usher.dump" &&
            deploy_restored postgres USHER_DATABASE_URL_FILE="$file" || status=1
    fi
    deploy_stop || status=1
    ((status == 0)) || tail -n 20 "$deploy_dir/log"
    return "$status"
}

# Starts a server with the configuration of overlay $1 and the variables after it, and waits until it is ready;
# sets `port`.
deploy_start() {
    local overlay=$1 probe_port tenth
    shift
    deploy_secrets || return 1
    port=$(free_port) && probe_port=$(free_port) && metrics_port=$(free_port) || return 1
    deploy_py config "$deploy_dir/$overlay.yaml" | deploy_relocate |
        sed -e "s/^probe_listen = .*/probe_listen = \"127.0.0.1:$probe_port\"/" -e 's/^drain_lead_seconds = .*//' \
            -e "s/^metrics_listen = .*/metrics_listen = \"127.0.0.1:$metrics_port\"/" >"$deploy_dir/usher.toml" || return 1
    # Nobody listens on port 1, so mails wait.
    env USHER_CONFIG="$deploy_dir/usher.toml" USHER_SERVER_LISTEN="127.0.0.1:$port" "$@" \
        USHER_MAIL_SMTP_HOST=127.0.0.1 USHER_MAIL_SMTP_PORT=1 \
        USHER_MAIL_SMTP_PASSWORD_FILE="$deploy_dir/run/usher/mail/password" \
        target/debug/usher serve </dev/null >"$deploy_dir/log" 2>&1 &
    deploy_pid=$!
    for ((tenth = 0; tenth < 300; tenth++)); do
        kill -0 "$deploy_pid" 2>/dev/null || break
        deploy_is_ready "127.0.0.1:$probe_port" && return
        sleep 0.1
    done
    echo 'the server did not get ready'
    return 1
}

# What Kubernetes asks, by the container's own probe.
deploy_is_ready() {
    target/debug/usher health --address "$1" 2>/dev/null | grep -qx 'SERVING readiness'
}

# Leaves the server running. Arguments as for deploy_start.
deploy_first_permission() {
    local port answer
    deploy_py block 'first permission' deploy/README.md >"$deploy_dir/permission.sh" || return 1
    deploy_start "$@" || return 1
    run env PATH="$(dirname "$USHER_TEST_GRPCURL"):$PATH" CERTS="$deploy_dir/certs" SERVER="localhost:$port" \
        bash -euo pipefail "$deploy_dir/permission.sh" >"$deploy_dir/said" 2>&1 || {
        cat "$deploy_dir/said"
        return 1
    }
    for answer in DECISION_ALLOW account.created; do
        grep -q "$answer" "$deploy_dir/said" || {
            echo "the runbook's commands do not say $answer but:"
            cat "$deploy_dir/said"
            return 1
        }
    done
}

# Whether the restored database has the account, and another epoch once a server runs on it. Leaves that running.
deploy_restored() {
    local port sql=deploy_$1_sql epoch="SELECT value FROM meta WHERE key = 'epoch'" before after
    before=$("$sql" "$epoch") || return 1
    deploy_py block 'new epoch' deploy/README.md >"$deploy_dir/epoch.sh" || return 1
    run env PATH="$PWD/target/debug:$PATH" "${@:2}" bash -euo pipefail "$deploy_dir/epoch.sh" || return 1
    deploy_start "$@" || return 1
    after=$("$sql" "$epoch") || return 1
    [[ -n $before && -n $after && $before != "$after" ]] || {
        echo "the epoch was \`$before\` and is \`$after\`"
        return 1
    }
    [[ $("$sql" 'SELECT count(*) FROM account') == 1 ]] || {
        echo 'the restored database lacks the account'
        return 1
    }
}

# Ends the server as Kubernetes does; it must leave with 0.
deploy_stop() {
    [[ -n $deploy_pid ]] || return 0
    local pid=$deploy_pid status=0
    deploy_pid=
    kill -TERM "$pid" 2>/dev/null
    ended "$pid" 300 || kill -KILL "$pid" 2>/dev/null
    wait "$pid" || status=$?
    ((status == 0)) || echo "the server ended with $status"
    return "$status"
}

deploy_sqlite_sql() {
    python3 - "$deploy_dir/usher.db" "$1" <<'PYTHON'
import sqlite3
import sys

database = sqlite3.connect(sys.argv[1], isolation_level=None)
for row in database.execute(sys.argv[2]):
    print(*row)
PYTHON
}

deploy_postgres_sql() {
    "$postgres_bin/psql" -qXAtc "$1" "$(<"$deploy_dir/url")"
}
