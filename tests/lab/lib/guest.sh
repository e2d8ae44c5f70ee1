# shellcheck shell=bash
# One guest: the folder of its run, what it is told, its life, its result.
# Reads the variables that tests/lab/run sets from its options.
# shellcheck disable=SC2154

# Everything of one run is in one folder, removed at the end. Only its ctl
# part is shown to the guest.
lab_open_run_folder() {
    lab_run=$(realpath -- "$(mktemp -d "${TMPDIR:-/tmp}/zblk-lab.XXXXXX")")
    lab_ctl=$lab_run/ctl
    lab_out=$lab_ctl/out
    lab_processes=()
    trap lab_close_run_folder EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    mkdir -p "$lab_out" "$lab_run/share" "$lab_run/images"
    : >"$lab_out/stdout"
    : >"$lab_out/stderr"
}

lab_close_run_folder() {
    local process
    for process in "${lab_processes[@]}"; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$lab_run"
}

lab_write_settings() {
    {
        printf 'lab_modules_dir=%s\n' "$(lab_quote "$lab_kernel/lib/modules/$(<"$lab_kernel/version")")"
        printf 'lab_directory=%s\n' "$(lab_quote "$PWD")"
        printf 'lab_share=%s\n' "$(lab_quote "$share")"
        printf 'lab_modules=%s\n' "$(lab_quote "${modules[*]}")"
        printf 'lab_shell=%s\n' "$shell"
    } >"$lab_ctl/settings"
    printf '%s\n' "${lab_device_lines[@]}" | grep . >"$lab_ctl/devices" || true
}

# The command as a script that sets the scene and becomes the command. It is for
# the host's shell: busybox would run its own programs in place of the host's.
lab_write_command() {
    local variable word
    {
        echo '#!/bin/sh'
        printf 'export PATH=%s\n' "$(lab_quote "/run/lab/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")"
        printf 'export HOME=/run/lab/home USER=root LOGNAME=root TMPDIR=/tmp LAB_KERNEL=%s LAB_SHARE=%s\n' \
            "$kernel" "$(lab_quote "$share")"
        [[ -z $shell ]] || printf 'export TERM=%s\nstty rows %s cols %s\n' "$(lab_quote "${TERM:-linux}")" \
            "$(tput lines 2>/dev/null || echo 24)" "$(tput cols 2>/dev/null || echo 80)"
        for variable in "${variables[@]}"; do
            if [[ $variable == *=* ]]; then
                printf 'export %s=%s\n' "${variable%%=*}" "$(lab_quote "${variable#*=}")"
            elif [[ -v $variable ]]; then
                printf 'export %s=%s\n' "$variable" "$(lab_quote "${!variable}")"
            fi
        done
        printf 'cd %s 2>/dev/null || cd "$LAB_SHARE"\n' "$(lab_quote "$PWD")"
        printf exec
        for word in "$@"; do
            printf ' %s' "$(lab_quote "$word")"
        done
        echo
    } >"$lab_ctl/command"
}

# lab_share_args TAG FOLDER [OPTION]: a folder of the host for the guest. Files
# keep their owners; remap because folders of several file systems may be below.
lab_share_args() {
    lab_qemu_args+=(
        -fsdev "local,id=$1,security_model=none,multidevs=remap,path=$(lab_qemu_value "$2")${3-}"
        -device "virtio-9p-pci,fsdev=$1,mount_tag=$1"
    )
}

lab_boot() {
    local console=$lab_run/console root=$lab_run/root
    mkdir -p "$root/guest"
    cp "$lab_dir"/guest/* "$root/guest/"
    mv "$root/guest/init" "$root/init"
    chmod 755 "$root/init"
    { cat "$lab_kernel/first-root.cpio" && lab_pack "$root"; } >"$lab_run/first-root.cpio"

    # On the console only what is worse than an error, unless a log is wanted. A
    # kernel that has gone wrong must not go on and pass a test. The rest is for
    # a quick start.
    local level=3
    [[ -z $log ]] || level=7
    local line="console=ttyS0 loglevel=$level panic=-1 oops=panic mitigations=off nokaslr tsc=reliable no_timer_check nowatchdog audit=0 random.trust_cpu=on"
    lab_qemu_args=(
        -nodefaults -no-user-config -display none -no-reboot
        -machine q35,hpet=off,graphics=off -accel tcg,thread=multi -cpu max,la57=off -smp "$smp" -m "$memory"
        -kernel "$lab_kernel/kernel" -initrd "$lab_run/first-root.cpio" -append "$line"
    )
    if [[ $shell ]]; then
        lab_qemu_args+=(-chardev stdio,id=console,signal=off)
    else
        lab_qemu_args+=(-chardev "file,id=console,path=$(lab_qemu_value "$console")")
    fi
    lab_qemu_args+=(-serial chardev:console)
    lab_share_args root / ,readonly=on
    lab_share_args lab "$lab_ctl"
    lab_share_args share "$share"
    lab_qemu_args+=("${lab_device_args[@]}" "${qemu_args[@]}")

    : >"$lab_run/begin"
    if [[ $shell ]]; then
        # In the foreground, because it has the terminal.
        timeout --foreground -k 5 "$timeout" qemu-system-x86_64 "${lab_qemu_args[@]}" && lab_qemu_status=0 || lab_qemu_status=$?
    else
        timeout -k 5 "$timeout" qemu-system-x86_64 "${lab_qemu_args[@]}" </dev/null >"$lab_run/qemu" 2>&1 &
        local qemu=$!
        lab_processes+=("$qemu")
        # The output as it comes, until the guest has ended.
        tail -c +1 -s 0.1 --pid="$qemu" -f "$lab_out/stdout" &
        local stdout=$!
        tail -c +1 -s 0.1 --pid="$qemu" -f "$lab_out/stderr" >&2 &
        local stderr=$!
        lab_processes+=("$stdout" "$stderr")
        wait "$qemu" && lab_qemu_status=0 || lab_qemu_status=$?
        : >"$lab_run/end"
        wait "$stdout" "$stderr" || true
        lab_processes=()
        [[ -z $log ]] || cp "$console" "$log"
    fi
}

# lab_seconds FROM TO: between the times of two files of the run, all written
# by this machine's clock.
lab_seconds() {
    local from to
    from=$(stat -c %.Y "$1") to=$(stat -c %.Y "$2")
    awk -v from="$from" -v to="$to" 'BEGIN { printf "%.1f", to - from }'
}

# Ends the script with the command's status, or says why there is none.
lab_report() {
    # A command may leave its last line open; the lab's own begins a new one.
    [[ -z $(tail -c 1 "$lab_out/stderr") || -e $lab_out/status && ! $times ]] || echo >&2
    if [[ $times && -e $lab_out/ended ]]; then
        lab_say "boot $(lab_seconds "$lab_run/begin" "$lab_out/started") s," \
            "command $(lab_seconds "$lab_out/started" "$lab_out/ended") s," \
            "end $(lab_seconds "$lab_out/ended" "$lab_run/end") s"
    fi
    if [[ -s $lab_out/status ]]; then
        exit "$(<"$lab_out/status")"
    fi
    if ((lab_qemu_status == 124 || lab_qemu_status == 137)); then
        lab_say "stopped after $timeout seconds"
        exit "$lab_timed_out"
    fi
    lab_say "the guest ended without a result (QEMU's status $lab_qemu_status); the last it said:"
    cat "$lab_run/qemu" "$lab_run/console" 2>/dev/null | tail -n 40 | sed 's/\r$//; s/\x1bc//g; s/\x1b\[[?0-9;]*[a-zA-Z]//g; s/^/lab:   /' >&2 || true
    exit "$lab_failed"
}
