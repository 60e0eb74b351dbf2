# shellcheck shell=bash
# Headings, durations and the summary. Sourced by tests/run.

passed_steps=()
failed_steps=()
lines=()

# Runs step_NAME between two headings and remembers how it went.
step() {
    local name=$1 started=$SECONDS outcome=ok took
    printf '\n== %s\n' "$name"
    if "step_$name"; then
        passed_steps+=("$name")
    else
        failed_steps+=("$name")
        outcome=FAILED
    fi
    took=$(duration $((SECONDS - started)))
    printf '== %s: %s, %s\n' "$name" "$outcome" "$took"
    lines+=("$(printf '%-9s %-7s %9s' "$name" "$outcome" "$took")")
    [[ $outcome == ok ]]
}

# Whether a step ran and failed.
failed() {
    case " ${failed_steps[*]-} " in *" $1 "*) return 0 ;; esac
    return 1
}

duration() {
    if (($1 < 60)); then
        printf '%d s' "$1"
    else
        printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
    fi
}

# Ends with the plain line that a reader of the log looks for.
summary() {
    printf '\n== summary\n'
    printf '%s\n' "${lines[@]}"
    printf '%s in all\n' "$(duration "$SECONDS")"
    printf '%d passed, %d failed\n' "${#passed_steps[@]}" "${#failed_steps[@]}"
    ((${#failed_steps[@]} == 0))
}
