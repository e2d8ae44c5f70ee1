# What the comparisons beside other programs share. To be sourced; needs $root and $dir.
# shellcheck shell=bash

# Installs what a comparison runs, where that is possible.
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        apt-get install -qq -y "$2" >/dev/null && return
    fi
    echo "$1 is missing: install the package $2" >&2
    exit 77
}

median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
least() { sort -g "$1" | head -n 1; }
most() { sort -g "$1" | tail -n 1; }

# The machine and the versions, as one paragraph.
setting() {
    local cpu fs
    cpu=$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)
    fs=$(stat -f -c %T "${dir:?}")
    printf '%s processors (%s), Linux %s, %s; %s; %s; zblk %s (%s).\n' \
        "$(nproc)" "$cpu" "$(uname -r)" "$fs" "$(qemu-img --version | head -n 1)" \
        "$(fio --version 2>/dev/null || echo 'no fio')" \
        "$("${root:?}/target/release/zblk" --version | awk '{ print $2 }')" \
        "$(git -C "$root" rev-parse --short HEAD)"
}

# Puts standard input into docs/src/performance.md, in place of what stands between the two marks.
publish() { # MARK
    local page=$root/docs/src/performance.md
    cat >"$dir/section"
    awk -v mark="$1" -v section="$dir/section" '
        $0 == "<!-- " mark ": begin -->" { print; while ((getline line < section) > 0) print line; skip = 1 }
        $0 == "<!-- " mark ": end -->" { skip = 0 }
        !skip { print }' "$page" >"$dir/page"
    cp "$dir/page" "$page"
}
