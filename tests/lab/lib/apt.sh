# shellcheck shell=bash
# apt with lists and sources of its own under the cache folder. The machine's
# sources are read and never changed, its lists may be empty (as they are in
# container images), and root is needed only to install.

lab_apt_dir=$lab_cache/apt
lab_apt_log=$lab_cache/apt/log

lab_apt_options() {
    lab_apt=(
        -qq
        -o "Dir::Etc::sourcelist=$lab_apt_dir/sources.list"
        -o "Dir::State::lists=$lab_apt_dir/lists"
        -o "Dir::Cache=$lab_apt_dir/cache"
        -o Acquire::Languages=none
        -o DPkg::Lock::Timeout=300
        -o Acquire::Retries=5
        # Several machines' caches are in a home that apt's own user can't enter.
        -o APT::Sandbox::User="$(id -un)"
    )
}

# Runs apt-get and shows what it said only if it fails.
lab_apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get "${lab_apt[@]}" "$@" >"$lab_apt_log" 2>&1 && return 0
    sed 's/^/lab:   /' "$lab_apt_log" >&2
    return 1
}

lab_apt_policy() {
    LC_ALL=C apt-cache "${lab_apt[@]}" policy "$1"
}

# The version that would be installed; empty when there is none.
lab_apt_candidate() {
    lab_apt_policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -vx '(none)' || true
}

# The mirror and code name of the machine's own Debian archive: the entry whose
# release is the plain code name, so not -updates, -security or -backports.
lab_apt_debian_mirror() {
    apt-get "${lab_apt[@]}" indextargets \
        --format '$(ORIGIN)|$(LABEL)|$(RELEASE)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 == "Debian" && ($3 == $4 || $3 ~ /^(oldoldstable|oldstable|stable|testing)$/) { print $4, $5; exit }'
}

# Adds the release's -backports suite, from the mirror that the machine already
# uses, to the private sources. A machine that has it already, or that isn't
# Debian, is left as it is.
lab_apt_add_backports() {
    local codename mirror options='' keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    read -r codename mirror < <(lab_apt_debian_mirror) || return 0
    if apt-get "${lab_apt[@]}" indextargets --format '$(RELEASE)' | grep -qx -- "$codename-backports"; then
        return 0
    fi
    [[ -r $keyring ]] && options="[signed-by=$keyring] "
    printf 'deb %s%s %s-backports main\n' "$options" "$mirror" "$codename" >>"$lab_apt_dir/sources.list"
    # A release without backports (testing) makes this fail; then do without.
    if ! lab_apt_get update; then
        sed -i '$d' "$lab_apt_dir/sources.list"
        lab_apt_get update || true
    fi
}

# Makes the private apt ready, once per process.
lab_apt_open() {
    [[ -z ${lab_apt_is_open:-} ]] || return 0
    command -v apt-get >/dev/null || lab_die_unavailable "no apt-get on this system; the lab takes its kernels from Debian packages"
    command -v dpkg >/dev/null || lab_die_unavailable "no dpkg on this system"
    [[ $(dpkg --print-architecture) == amd64 ]] ||
        lab_die_unavailable "the lab's guests are amd64 and this system is $(dpkg --print-architecture)"
    mkdir -p "$lab_apt_dir/lists/partial" "$lab_apt_dir/cache/archives/partial"
    lab_apt_options
    # The machine's one-file sources first; its sources.list.d is read as it is.
    cat /etc/apt/sources.list >"$lab_apt_dir/sources.list" 2>/dev/null || : >"$lab_apt_dir/sources.list"
    lab_say "reading package lists"
    # A third party's source that doesn't answer is no reason to stop; what
    # counts is whether the packages are found.
    lab_apt_get update || lab_say "apt-get update reported the errors above (no network?)"
    lab_apt_add_backports
    lab_apt_is_open=yes
}

# lab_apt_unpack PACKAGE FOLDER: downloads without installing.
lab_apt_unpack() {
    local package=$1 folder=$2 download
    download=$(mktemp -d "$lab_cache/download.XXXXXX")
    if ! (cd "$download" && lab_apt_get download "$package"); then
        rm -rf "$download"
        lab_die_unavailable "could not download the package $package (no network, or no such package in this machine's apt sources)"
    fi
    mkdir -p "$folder"
    dpkg -x "$download"/*.deb "$folder"
    rm -rf "$download"
}
