# shellcheck shell=bash
# Commands that end when this script ends, and what is cleaned up then. Sourced by tests/run.

child=
trash=()
at_exit=()

# Runs a command in a process group of its own, so that stopping the script stops all that it started.
run() {
    local status=0
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    wait "$child" || status=$?
    child=
    return "$status"
}

# Waits up to $2 tenths of a second for process $1 to end.
ended() {
    local tenth
    for ((tenth = 0; tenth < $2; tenth++)); do
        kill -0 -- "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    ! kill -0 -- "$1" 2>/dev/null
}

# Removes a file or directory at the end, whatever happens.
remove_at_exit() {
    trash+=("$1")
}

# Calls a function at the end, whatever happens.
clean_up_at_exit() {
    at_exit+=("$1")
    trap clean_up EXIT
    trap 'interrupted INT 130' INT
    trap 'interrupted TERM 143' TERM
    trap 'interrupted HUP 129' HUP
}

interrupted() {
    printf '\nstopped by SIG%s\n' "$1"
    exit "$2"
}

clean_up() {
    local status=$? step
    trap '' INT TERM HUP
    set +e
    if [[ -n $child ]]; then
        kill -TERM -- "-$child" 2>/dev/null
        ended "-$child" 50 || kill -KILL -- "-$child" 2>/dev/null
    fi
    for step in "${at_exit[@]}"; do "$step"; done
    ((${#trash[@]} == 0)) || rm -rf -- "${trash[@]}"
    exit "$status"
}
