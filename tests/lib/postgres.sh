# shellcheck shell=bash
# A PostgreSQL server for one run: own directory, own port, no trace left. Sourced by tests/run.
# shellcheck disable=SC2154 # `postgres_bin` is set by needs.sh.

postgres_dir=
postgres_pid=

postgres_start() {
    postgres_make_dir || return 1
    if ! run postgres_init; then
        cat "$postgres_dir/log"
        return 1
    fi

    # Another process may take the port before the server does: then another port.
    local try port
    for try in 1 2 3 4 5; do
        port=$(free_port) || return 1
        postgres_launch "$port" || continue
        export USHER_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
        printf '%s\n' "$USHER_TEST_POSTGRES_URL"
        return
    done
    echo "PostgreSQL did not start in $try tries; the end of its log:"
    tail -n 20 "$postgres_dir/log"
    return 1
}

# As root the server runs as another user, who must be able to reach the directory; and the path of a socket
# is at most 107 bytes.
postgres_make_dir() {
    local parent
    for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        postgres_dir=$(mktemp -d "$parent/usher-postgres.XXXXXX") || continue
        remove_at_exit "$postgres_dir"
        ((EUID != 0)) || chown "$(postgres_user)" "$postgres_dir"
        ((${#postgres_dir} < 80)) && run as_postgres test -w "$postgres_dir" 2>/dev/null && return
    done
    echo 'no temporary directory that PostgreSQL can use; set TMPDIR'
    return 1
}

postgres_init() {
    as_postgres "$postgres_bin/initdb" -D "$postgres_dir/data" -A trust -U postgres --no-sync \
        --encoding=UTF8 --locale=C >"$postgres_dir/log" 2>&1
}

# Starts the server on port $1 and waits until it takes connections.
postgres_launch() {
    set -m
    as_postgres "$postgres_bin/postgres" -D "$postgres_dir/data" -k "$postgres_dir" -p "$1" \
        -c listen_addresses=127.0.0.1 -c max_connections=300 \
        -c fsync=off -c full_page_writes=off -c synchronous_commit=off \
        </dev/null >>"$postgres_dir/log" 2>&1 &
    postgres_pid=$!
    set +m

    local tenth
    for ((tenth = 0; tenth < 600; tenth++)); do
        kill -0 "$postgres_pid" 2>/dev/null || break
        # The last line of its pid file is its state.
        [[ $(tail -n 1 "$postgres_dir/data/postmaster.pid" 2>/dev/null) == ready* ]] && return
        sleep 0.1
    done
    postgres_stop
    return 1
}

# Fails, with the end of the log, if the server that was started is gone.
postgres_check() {
    [[ -n $postgres_pid ]] || return 0
    kill -0 "$postgres_pid" 2>/dev/null && return
    echo 'PostgreSQL ended by itself; the end of its log:'
    tail -n 20 "$postgres_dir/log"
    return 1
}

# Ends the server that was started and no other: first it closes its connections, then it is made to.
postgres_stop() {
    [[ -n $postgres_pid ]] || return 0
    local signal
    for signal in INT QUIT KILL; do
        kill "-$signal" "$postgres_pid" 2>/dev/null
        ended "$postgres_pid" 100 && break
    done
    postgres_pid=
}

# Becomes the command, as a user that PostgreSQL accepts (it refuses root) and, where that can be had, with a
# signal if this script is killed. For a subshell: `run as_postgres …` or `as_postgres … &`.
as_postgres() {
    cd "$postgres_dir" 2>/dev/null || cd /
    local prefix=(env)
    if setpriv --pdeathsig INT true 2>/dev/null; then prefix=(setpriv --pdeathsig INT); fi
    if ((EUID == 0)); then
        prefix=(setpriv --pdeathsig INT --reuid="$(postgres_user)" --regid="$(id -g "$(postgres_user)")" --clear-groups)
    fi
    exec "${prefix[@]}" "$@"
}

postgres_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
