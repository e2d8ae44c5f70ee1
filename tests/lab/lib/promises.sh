# shellcheck shell=bash
# A random workload for an emulated zoned device, what it was promised by its answers, and what the
# device must hold, may hold and must not hold after a cut.
#
# All sizes are in bytes. Each append writes one value into all of its bytes.

promises_zones=8
promises_zone_size=$((512 << 10))
# All of it, as `zblk io` prints it.
promises_length='4 MiB'
promises_block=4096

# Of each zone: the appends in it as "VALUE:LENGTH …", how much they wrote, how much of that was
# answered, and how much was promised to stay.
promises_appends=()
promises_written=()
promises_answered=()
promises_durable=()
# The zone whose reset was begun and not answered.
promises_open_reset=
promises_next_value=0
# Counts: promises since the last look, appends lost that were answered and not promised.
promises_made=0
promises_lost=0

promises_forget() {
    promises_appends[$1]='' promises_written[$1]=0 promises_answered[$1]=0 promises_durable[$1]=0
}

promises_begin() {
    local zone
    for ((zone = 0; zone < promises_zones; zone++)); do
        promises_forget "$zone"
    done
}

# promises_invent COUNT: so many steps that will work, as lines for `zblk io` in promises_script and
# the answer to each in promises_expected.
promises_invent() {
    local end=("${promises_written[@]}") step zone what length value start flag answer
    promises_steps=() promises_expected=() promises_script=''
    for ((step = 0; step < $1; step++)); do
        # As many draws for each step, so that a seed gives the same choices.
        zone=$((RANDOM % promises_zones)) what=$((RANDOM % 32)) length=$((promises_block * (1 + RANDOM % 8)))
        start=$((zone * promises_zone_size))
        if ((what == 27 || what < 27 && end[zone] + length > promises_zone_size)); then
            end[zone]=0
            promises_steps+=("reset $zone")
            # Neither a reset nor a flush says anything: the next command tells that it is done.
            promises_script+="zrs $start $promises_zone_size"$'\nlength\n'
            promises_expected+=("$promises_length")
        elif ((what > 27)); then
            promises_steps+=(flush)
            promises_script+=$'flush\nlength\n'
            promises_expected+=("$promises_length")
        else
            flag=''
            ((what < 25)) || flag=' -f'
            value=$((1 + promises_next_value++ % 255))
            promises_steps+=("append $zone $value $length$flag")
            promises_script+="zap -p$flag -P $value $start $length"$'\n'
            printf -v answer 'After zap done, the append sector is 0x%x' $(((start + end[zone]) / 512))
            promises_expected+=("$answer")
            end[zone]=$((end[zone] + length))
        fi
    done
}

# promises_learn ANSWERS: so many steps were answered; the next one may have been done or not.
promises_learn() {
    local step
    for ((step = 0; step < $1; step++)); do
        # shellcheck disable=SC2086 # words are meant
        promises_done ${promises_steps[step]}
    done
    if ((step < ${#promises_steps[@]})); then
        # shellcheck disable=SC2086 # words are meant
        promises_begun ${promises_steps[step]}
    fi
    promises_steps=()
}

# promises_done WHAT [ZONE [VALUE LENGTH [-f]]]
promises_done() {
    local zone=${2-}
    case $1 in
    append)
        promises_begun "$@"
        promises_answered[zone]=${promises_written[zone]}
        [[ ${5-} ]] || return 0
        promises_durable[zone]=${promises_written[zone]}
        ;;
    reset) promises_forget "$zone" ;;
    flush)
        for ((zone = 0; zone < promises_zones; zone++)); do
            promises_durable[zone]=${promises_written[zone]}
        done
        ;;
    esac
    promises_made=$((promises_made + 1))
}

promises_begun() {
    local zone=${2-}
    case $1 in
    append)
        promises_appends[zone]+="$3:$4 "
        promises_written[zone]=$((promises_written[zone] + $4))
        ;;
    reset) promises_open_reset=$zone ;;
    esac
}

# promises_compare POINTERS…: the zones' write pointers, from each zone's start, as they are after a
# cut. Fails with a complaint if one can't be; else takes them for what there is, and leaves in
# promises_reads the lines for `zblk io` that verify every byte of the device.
promises_compare() {
    local pointers=("$@") zone pointer append at end length start kept
    promises_reads=''
    if ((${#pointers[@]} != promises_zones)); then
        echo "there are ${#pointers[@]} zones and not $promises_zones"
        return 1
    fi
    for ((zone = 0; zone < promises_zones; zone++)); do
        pointer=${pointers[zone]} start=$((zone * promises_zone_size))
        if [[ $pointer == 0 && $promises_open_reset == "$zone" ]]; then
            promises_forget "$zone"
        elif ((pointer < promises_durable[zone] || pointer > promises_written[zone] || pointer % promises_block)); then
            echo "zone $zone: the write pointer is at $pointer; ${promises_durable[zone]} bytes were" \
                "promised and ${promises_written[zone]} written"
            return 1
        fi
        at=0 kept=''
        for append in ${promises_appends[zone]}; do
            length=${append#*:} end=$((at + length))
            # What was not answered isn't counted as lost.
            ((end <= pointer || end > promises_answered[zone])) || promises_lost=$((promises_lost + 1))
            ((end <= pointer)) || length=$((pointer - at))
            if ((length > 0)); then
                promises_reads+="read -q -P ${append%:*} $((start + at)) $length"$'\n'
                kept+="${append%:*}:$length "
            fi
            at=$end
        done
        ((pointer == promises_zone_size)) ||
            promises_reads+="read -q -P 0 $((start + pointer)) $((promises_zone_size - pointer))"$'\n'
        promises_appends[zone]=$kept
        promises_written[zone]=$pointer promises_answered[zone]=$pointer promises_durable[zone]=$pointer
    done
    promises_open_reset=
}
