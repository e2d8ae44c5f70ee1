# shellcheck shell=bash
# The programs that must be on the host itself: QEMU to run the guest, and
# qemu-img and qemu-io beside it for the tests that compare with them.

lab_qemu=qemu-system-x86_64

# Succeeds if one of the packages is QEMU's and apt's own choice is before 10.
lab_wants_newer_qemu() {
    local package version
    for package in "$@"; do
        [[ $package == qemu-* ]] || continue
        version=$(lab_apt_candidate "$package")
        version=${version#*:}
        ((10#0${version%%[!0-9]*} < 10)) && return 0
    done
    return 1
}

# Installs packages, from backports where the release's own QEMU is old: qemu-io
# learned the zone commands, and QEMU's zoned drivers got most of their fixes,
# after 7.2.
lab_install() {
    local suite
    [[ $(id -u) == 0 ]] ||
        lab_die_unavailable "these packages must be installed first, and this is not root: $* (as root: apt-get install $*)"
    lab_apt_open
    lab_say "installing $*"
    suite=$(sed -n 's/^deb .* \([a-z]*-backports\) main$/\1/p' "$lab_apt_dir/sources.list" | tail -n 1)
    if [[ -n $suite ]] && lab_wants_newer_qemu "$@"; then
        lab_apt_get install -y --no-install-recommends -t "$suite" "$@" && return 0
        lab_say "the versions in $suite could not be installed; taking the release's own"
    fi
    lab_apt_get install -y --no-install-recommends "$@" ||
        lab_die_unavailable "could not install $*"
}

lab_prepare_host() {
    local missing=()
    command -v "$lab_qemu" >/dev/null || missing+=(qemu-system-x86)
    command -v qemu-io >/dev/null || missing+=(qemu-utils)
    command -v blkzone >/dev/null || [[ -x /usr/sbin/blkzone ]] || missing+=(util-linux)
    command -v xz >/dev/null || missing+=(xz-utils)
    command -v zstd >/dev/null || missing+=(zstd)
    ((${#missing[@]} == 0)) || lab_install "${missing[@]}"
}

lab_prepare_busybox() {
    local busybox=$lab_cache/busybox
    [[ -x $busybox ]] && return 0
    lab_apt_open
    lab_say "fetching busybox-static"
    rm -rf "$lab_cache/unpack"
    lab_apt_unpack busybox-static "$lab_cache/unpack"
    # Debian moved it from /bin to /usr/bin.
    find "$lab_cache/unpack" -type f -name busybox -exec mv {} "$busybox.new" \;
    mv "$busybox.new" "$busybox"
    rm -rf "$lab_cache/unpack"
}
