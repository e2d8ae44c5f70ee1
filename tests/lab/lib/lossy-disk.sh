# shellcheck shell=bash
# A virtual disk that keeps what was flushed and nothing else, when QEMU is killed.
#
# On a raw disk nothing would be lost, because this machine's page cache keeps what QEMU wrote. Here
# each boot begins with an empty qcow2 overlay. QEMU writes data to the overlay's file at once, but
# the table that tells where it lies is in QEMU's memory until the guest flushes: whatever was
# written to a place for the first time in this boot, and not flushed, dies with QEMU. Afterwards
# what did survive is moved to the disk below, so that the next boot begins the same way.
#
# Clusters of 128 KiB with subclusters (extended_l2) lose single blocks of 4 KiB, and have one table
# for the whole disk: when QEMU makes a further table, it writes the others.

# lossy_make FOLDER BLOCKS BLOCKS_OF_FILE_SYSTEM: a disk with ext4 on its first blocks (of 4096
# bytes), and room behind it.
lossy_make() {
    lossy_below=$1/below.raw
    lossy_overlay=$1/overlay.qcow2
    truncate -s $(($2 * 4096)) "$lossy_below"
    PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 \
        "$lossy_below" "$3"
}

# lossy_begin LOSES: makes the disk ready for a boot, and leaves QEMU's arguments in lossy_args. It
# LOSES all that is not flushed, or some: then QEMU's memory for the table is so small that parts of
# it are written before, in no order.
lossy_begin() {
    local cache
    case $1 in
    all) cache=l2-cache-size=1M ;;
    some) cache=l2-cache-entry-size=512,l2-cache-size=1k ;;
    esac
    qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k -b "$lossy_below" -F raw "$lossy_overlay"
    # This machine itself doesn't fail, so what QEMU wrote need not reach its disk: "unsafe" saves
    # the time for that. The guest's flushes write QEMU's tables all the same.
    # shellcheck disable=SC2034,SC2054 # for who calls; commas within words are meant
    lossy_args=(
        -drive "if=none,id=lossy,format=qcow2,cache=unsafe,$cache,file=$(lab_qemu_value "$lossy_overlay")"
        -device virtio-blk-pci,drive=lossy,serial=lossy
    )
}

# To be called when QEMU has ended: afterwards lossy_below is what the disk holds.
lossy_settle() {
    qemu-img commit -q -d "$lossy_overlay"
    rm "$lossy_overlay"
}
