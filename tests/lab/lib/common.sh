# shellcheck shell=bash
# What every script of the lab shares: where things are kept, how it speaks,
# and its exit statuses. Sourced, not run.

lab_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
lab_cache=${ZBLK_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/zblk-lab}
lab_kernels=(6.12 6.1)

# Statuses that mean the lab itself speaks, not the command inside. 77 is what
# test runners read as "left out", 124 what timeout(1) says.
lab_usage_error=2
lab_unavailable=77
lab_timed_out=124
lab_failed=125

# Everything the lab says goes to standard error and carries its name, so it
# can't be taken for the output of the command inside.
lab_say() {
    printf 'lab: %s\n' "$*" >&2
}

lab_die_usage() {
    lab_say "$*"
    exit "$lab_usage_error"
}

lab_die() {
    lab_say "$*"
    exit "$lab_failed"
}

# The lab can't work on this machine; the reason is for a person to act on.
lab_die_unavailable() {
    lab_say "unavailable here: $*"
    exit "$lab_unavailable"
}

# One word for a POSIX shell, whatever bytes it has. printf %q is not used
# because it writes $'…', which not every shell reads.
lab_quote() {
    local word=$1 quote="'\\''"
    printf "'%s'" "${word//\'/$quote}"
}

lab_is_kernel() {
    local known
    for known in "${lab_kernels[@]}"; do
        [[ $1 == "$known" ]] && return 0
    done
    return 1
}
