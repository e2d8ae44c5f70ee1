# shellcheck shell=bash
# A kernel of the lab: Debian's package, unpacked and never installed, with the
# modules that a storage test may want, and the small first root that boots it.

# Raised when what is made from a kernel package changes, so that caches made
# by an older lab are made again.
lab_kernel_format=2

# The modules without which the host's files can't be reached.
lab_boot_modules=(virtio_pci 9pnet_virtio 9p)

# Folders of drivers that are kept; the rest (graphics, sound, network cards…)
# is most of the size and of no use in the guest.
lab_kept_drivers=' acpi base block char cpufreq crypto dax dma-buf md misc net nvdimm nvme scsi target vdpa vfio vhost virt virtio '
lab_dropped_net=(ethernet wireless can usb wwan phy wan hamradio arcnet fddi dsa)

lab_kernel_dir() {
    printf '%s/kernel-%s\n' "$lab_cache" "$1"
}

lab_kernel_ready() {
    [[ $(cat "$(lab_kernel_dir "$1")/ready" 2>/dev/null) == "$lab_kernel_format" ]]
}

# The name of the package that has the files: the meta package has a fixed name
# and depends on the one whose name changes with each update.
lab_kernel_package() {
    local series=$1 meta package
    for meta in "linux-image-$series-amd64" linux-image-amd64; do
        package=$(LC_ALL=C apt-cache "${lab_apt[@]}" depends "$meta" 2>/dev/null |
            sed -n "s/^ *Depends: \(linux-image-${series//./\\.}\.[^ ]*\)$/\1/p" | head -n 1)
        if [[ -n $package ]]; then
            printf '%s\n' "$package"
            return 0
        fi
    done
    return 1
}

lab_prune_modules() {
    local modules=$1 path name
    rm -rf "$modules/kernel/sound" "$modules/build" "$modules/source"
    for path in "$modules"/kernel/drivers/*; do
        name=${path##*/}
        [[ $lab_kept_drivers == *" $name "* ]] || rm -rf "$path"
    done
    for name in "${lab_dropped_net[@]}"; do
        rm -rf "$modules/kernel/drivers/net/$name"
    done
    # Unpacking is slow under emulation, and here it is done once.
    find "$modules" -name '*.ko.xz' -exec xz -d -q {} +
    find "$modules" -name '*.ko.zst' -exec zstd -d -q --rm {} +
    # Old indices name modules that are gone.
    rm -f "$modules"/modules.dep* "$modules"/modules.alias* "$modules"/modules.symbols*
}

# Prints the modules to load for those named, each after what it depends on.
lab_module_order() {
    local modules=$1
    shift
    "$lab_cache/busybox" awk -v wanted="$*" '
        { path = $1; sub(/:$/, "", path); name = path; sub(/.*\//, "", name); sub(/\.ko$/, "", name)
          paths[name] = path; needs[path] = ""
          for (i = 2; i <= NF; i++) needs[path] = needs[path] " " $i }
        # modules.dep lists all that a module needs, the deepest last.
        function show(path,   list, n, i) {
            n = split(needs[path], list, " ")
            for (i = n; i >= 1; i--) if (!seen[list[i]]++) print list[i]
            if (!seen[path]++) print path
        }
        END { n = split(wanted, names, " ")
              # A name that is not there is built in.
              for (i = 1; i <= n; i++) if (names[i] in paths) show(paths[names[i]]) }
    ' "$modules/modules.dep"
}

# The first root: busybox and the boot modules. The guest's scripts are added
# by each run, so that they are always those of the checkout.
lab_build_first_root() {
    local modules=$1 archive=$2 root number=10 module
    root=$(mktemp -d "$lab_cache/root.XXXXXX")
    mkdir -p "$root"/{bin,dev,proc,sys,lab,host,plain,modules,sbin,lib/modules}
    cp "$lab_cache/busybox" "$root/bin/busybox"
    # The kernel calls this path to load a module by itself.
    ln -s ../bin/busybox "$root/sbin/modprobe"
    while read -r module; do
        cp "$modules/$module" "$root/modules/$number-${module##*/}"
        number=$((number + 1))
    done < <(lab_module_order "$modules" "${lab_boot_modules[@]}")
    lab_pack "$root" >"$archive"
    rm -rf "$root"
}

# Writes a folder as a cpio archive. Archives one after the other are one to
# the kernel, if each is padded to four bytes, which cpio's 512 is.
lab_pack() {
    (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | "$lab_cache/busybox" cpio -o -H newc 2>/dev/null)
}

# lab_unpack_image VMLINUZ OUTPUT: the kernel as an ELF file, which QEMU starts
# directly. Unpacking under emulation costs the guest two to five seconds.
# Offsets are those of the x86 boot protocol's header.
lab_unpack_image() {
    local image=$1 output=$2 setup offset length start magic
    setup=$(lab_number "$image" 0x1f1 1)
    offset=$(lab_number "$image" 0x248 4)
    length=$(lab_number "$image" 0x24c 4)
    start=$(((setup + 1) * 512 + offset))
    magic=$(od -An -tx1 -j "$start" -N 4 "$image" | tr -d ' ')
    # The last four bytes are the unpacked size, which is not the packer's.
    tail -c "+$((start + 1))" "$image" | head -c "$((length - 4))" >"$output.packed"
    case $magic in
    fd377a58) xz -dc "$output.packed" >"$output" ;;
    28b52ffd) zstd -dcq "$output.packed" >"$output" ;;
    *) false ;;
    esac 2>/dev/null && [[ $(od -An -tx1 -N 4 "$output" | tr -d ' ') == 7f454c46 ]]
}

# lab_number FILE OFFSET BYTES
lab_number() {
    od -An "-tu$3" -j "$2" -N "$3" "$1" | tr -d ' '
}

lab_prepare_kernel() {
    local series=$1 folder package unpack modules version
    lab_kernel_ready "$series" && return 0
    lab_apt_open
    package=$(lab_kernel_package "$series") ||
        lab_die_unavailable "no package of a $series kernel in this machine's apt sources (no network, or another release)"
    lab_say "fetching $package"
    folder=$(lab_kernel_dir "$series")
    unpack=$lab_cache/unpack
    rm -rf "$unpack"
    lab_apt_unpack "$package" "$unpack"
    version=${package#linux-image-}
    modules=$unpack/lib/modules/$version
    [[ -d $modules ]] || modules=$unpack/usr/lib/modules/$version
    [[ -d $modules && -f $unpack/boot/vmlinuz-$version ]] ||
        lab_die "the package $package has no kernel and modules of version $version"
    lab_prune_modules "$modules"
    rm -rf "$folder"
    mkdir -p "$folder/lib/modules"
    mv "$modules" "$folder/lib/modules/$version"
    if ! lab_unpack_image "$unpack/boot/vmlinuz-$version" "$folder/kernel"; then
        lab_say "could not unpack the kernel's image; it will boot slower"
        mv "$unpack/boot/vmlinuz-$version" "$folder/kernel"
    fi
    rm -f "$folder/kernel.packed"
    mv "$unpack/boot/config-$version" "$folder/config"
    rm -rf "$unpack"
    "$lab_cache/busybox" depmod -b "$folder" "$version"
    lab_build_first_root "$folder/lib/modules/$version" "$folder/first-root.cpio"
    printf '%s\n' "$version" >"$folder/version"
    printf '%s\n' "$lab_kernel_format" >"$folder/ready"
}
