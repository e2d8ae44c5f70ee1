# shellcheck shell=bash
# --device and --disk: what each means to QEMU (the array lab_device_args) and
# to the guest (lab_device_lines, read by guest/devices).

lab_device_args=()
lab_device_lines=()
lab_zns_count=0
lab_disk_count=0
lab_has_scsi_debug=

# QEMU reads a comma as the end of a value, and two as one that belongs to it.
lab_qemu_value() {
    printf '%s' "${1//,/,,}"
}

# lab_device SPEC FOLDER: SPEC is KIND or KIND:key=value,…; fresh images go to
# FOLDER.
lab_device() {
    local spec=$1 folder=$2 kind pairs=() pair
    kind=${spec%%:*}
    if [[ $spec == *:* ]]; then
        IFS=, read -r -a pairs <<<"${spec#*:}"
    fi
    for pair in "${pairs[@]}"; do
        [[ $pair =~ ^[a-z_]+=[A-Za-z0-9_.-]+$ ]] || lab_die_usage "--device $spec: '$pair' is not key=value"
    done
    case $kind in
    null_blk) lab_device_lines+=("null_blk ${pairs[*]}") ;;
    scsi_debug)
        # The module takes its settings when it is loaded, for all its disks.
        [[ -z $lab_has_scsi_debug ]] || lab_die_usage "--device scsi_debug can be given once"
        lab_has_scsi_debug=yes
        lab_device_lines+=("scsi_debug ${pairs[*]}")
        ;;
    zns) lab_zns_device "$folder" "${pairs[@]}" ;;
    *) lab_die_usage "--device $spec: the kinds are null_blk, scsi_debug and zns" ;;
    esac
}

lab_zns_device() {
    local folder=$1 pair key value number=$((lab_zns_count += 1))
    local size=512M block_size=4096 zone_size=16M zone_capacity=12M max_open=6 max_active=10 more='' controller=''
    shift
    # A setting that is given makes the defaults that belong to it step back:
    # to the zone's size, and to no limit of its own.
    for pair in "$@"; do
        case $pair in
        zone_size=*) zone_capacity='' ;;
        max_open=* | max_active=*) max_open='' max_active='' ;;
        esac
    done
    for pair in "$@"; do
        key=${pair%%=*} value=${pair#*=}
        case $key in
        size) size=$value ;;
        block_size) block_size=$value ;;
        zone_size) zone_size=$value ;;
        zone_capacity) zone_capacity=$value ;;
        max_open) max_open=$value ;;
        max_active) max_active=$value ;;
        cross_read | descr_ext_size) more+=",zoned.$key=$value" ;;
        append_limit) controller+=",zoned.zasl=$value" ;;
        *) lab_die_usage "--device zns: no option '$key'; there are size, block_size, zone_size, zone_capacity," \
            "max_open, max_active, cross_read, descr_ext_size, append_limit" ;;
        esac
    done
    more+=",zoned.zone_size=$zone_size${zone_capacity:+,zoned.zone_capacity=$zone_capacity}"
    more+="${max_open:+,zoned.max_open=$max_open}${max_active:+,zoned.max_active=$max_active}"
    truncate -s "$size" "$folder/zns$number.img" 2>/dev/null || lab_die_usage "--device zns: can't make an image of size $size"
    lab_device_args+=(
        -drive "if=none,id=zns$number,format=raw,discard=unmap,file=$(lab_qemu_value "$folder/zns$number.img")"
        -device "nvme,id=nvme$number,serial=zns$number$controller"
        -device "nvme-ns,bus=nvme$number,drive=zns$number,zoned=true,logical_block_size=$block_size,physical_block_size=$block_size$more"
    )
    lab_device_lines+=("zns serial=zns$number")
}

lab_disk() {
    local file=$1 number=$((lab_disk_count += 1)) read_only=off
    [[ -f $file || -b $file ]] || lab_die_usage "--disk $file: no such file"
    [[ -w $file ]] || read_only=on
    lab_device_args+=(
        -drive "if=none,id=disk$number,format=raw,discard=unmap,read-only=$read_only,file=$(lab_qemu_value "$(realpath -- "$file")")"
        -device "virtio-blk-pci,drive=disk$number,serial=disk$number"
    )
    lab_device_lines+=("disk serial=disk$number")
}
