# shellcheck shell=bash
# The walk of README.md, run as a reader would. Sourced by tests/run.

readme_pid=

step_readme() {
    if failed build || [[ -z ${USHER_TEST_GRPCURL:-} ]]; then
        echo 'not run: the build failed, or there is no grpcurl'
        return 1
    fi
    local directory address status=0
    directory=$(mktemp -d "${TMPDIR:-/tmp}/usher-readme.XXXXXX") && remove_at_exit "$directory"
    address=127.0.0.1:$(free_port)
    mkdir "$directory/bin"
    ln -s "$PWD/target/debug/usher" "$USHER_TEST_GRPCURL" "$directory/bin/"
    target/debug/usher demo --listen "$address" --directory "$directory/demo" >"$directory/log" 2>&1 &
    readme_pid=$!
    readme_wait "$directory/log" &&
        PATH=$directory/bin:$PATH USHER_SERVER=http://$address \
            run python3 tests/lib/readme.py README.md "$address" "$directory/demo" || status=1
    readme_stop || status=1
    ((status == 0)) || tail -n 5 "$directory/log"
    return "$status"
}

readme_wait() {
    local tenth
    for ((tenth = 0; tenth < 200; tenth++)); do
        ! grep -q 'serving' "$1" || return 0
        kill -0 "$readme_pid" 2>/dev/null || break
        sleep 0.1
    done
    echo 'the demo does not serve'
    return 1
}

readme_stop() {
    [[ -n $readme_pid ]] || return 0
    local pid=$readme_pid
    readme_pid=
    kill -TERM "$pid" 2>/dev/null
    ended "$pid" 100 || kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
}
