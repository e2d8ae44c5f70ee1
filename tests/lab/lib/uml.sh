# shellcheck shell=bash
# A kernel that is a program of this machine (User Mode Linux), built from
# Debian's sources, because Debian's own has no zoned block devices. Its driver
# virtio_uml is a front end of vhost-user: it needs no VMM and no KVM.

lab_uml_series=6.12
lab_uml_config=$lab_dir/uml-config

lab_uml_dir() {
    printf '%s/uml-%s\n' "$lab_cache" "$lab_uml_series"
}

# What the kernel in the cache was made of, but for the sources' version, which
# only --refresh changes.
lab_uml_format() {
    printf '1 %s\n' "$(sha256sum <"$lab_uml_config" | cut -d ' ' -f 1)"
}

lab_uml_ready() {
    [[ $(cat "$(lab_uml_dir)/ready" 2>/dev/null) == "$(lab_uml_format)" ]]
}

# Programs that a build of the kernel calls.
lab_uml_host() {
    local program missing=()
    for program in gcc make flex bison bc; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    command -v xz >/dev/null || missing+=(xz-utils)
    [[ -e /usr/include/stdio.h ]] || missing+=(libc6-dev)
    ((${#missing[@]} == 0)) || lab_install "${missing[@]}"
}

lab_prepare_uml() {
    local package=linux-source-$lab_uml_series unpack=$lab_cache/unpack folder source version line
    lab_uml_ready && return 0
    [[ $(uname -m) == x86_64 ]] || lab_die_unavailable "a kernel as a program is built for x86_64, and this is $(uname -m)"
    lab_uml_host
    lab_apt_open
    version=$(lab_apt_candidate "$package")
    [[ $version ]] || lab_die_unavailable "no package $package in this machine's apt sources (no network, or another release)"
    lab_say "fetching $package $version"
    folder=$(lab_uml_dir)
    rm -rf "$unpack"
    lab_apt_unpack "$package" "$unpack"
    # Most of it is drivers of other machines, whose Kconfig files alone are read.
    tar -C "$unpack" -xf "$unpack/usr/src/$package.tar.xz" \
        --exclude="$package/drivers/gpu/*.[ch]" --exclude="$package/drivers/media/*.[ch]" \
        --exclude="$package/drivers/net/*.[ch]" --exclude="$package/sound/*.[ch]" \
        --exclude="$package/Documentation/*.rst" --exclude="$package/Documentation/*.yaml" \
        --exclude="$package/tools/testing"
    source=$unpack/$package
    lab_say "building a kernel that is a program; this takes some minutes"
    if ! {
        KCONFIG_ALLCONFIG=$lab_uml_config make -s -C "$source" ARCH=um SUBARCH=x86_64 allnoconfig &&
            nice make -s -C "$source" ARCH=um SUBARCH=x86_64 -j"$(nproc)" linux
    } >"$lab_cache/uml-log" 2>&1; then
        tail -n 30 "$lab_cache/uml-log" | sed 's/^/lab:   /' >&2
        lab_die "the kernel could not be built; $lab_cache/uml-log has all that was said"
    fi
    # A setting that depends on another one is left out without a word.
    while read -r line; do
        grep -qxF -- "$line" "$source/.config" || lab_die "the sources know no $line"
    done < <(grep ^CONFIG_ "$lab_uml_config")
    rm -rf "$folder"
    mkdir -p "$folder"
    strip -o "$folder/linux" "$source/linux"
    cp "$source/.config" "$folder/config"
    printf '%s\n' "$version" >"$folder/version"
    rm -rf "$unpack" "$lab_cache/uml-log"
    lab_uml_format >"$folder/ready"
}
