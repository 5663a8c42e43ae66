#!/bin/sh
# Sets knobs of the running kernel, and puts them back. Runs as root on a lab host; see tuning.py.
#
#   tune apply SECONDS <PLAN   PLAN: rows "name, pattern of paths, value" between tabs; value "-"
#                              only reads. Prints "name, path, value before, value now" for each.
#   tune restore               Puts back what the journal holds.
#
# What is there is in the journal, on disk, before anything is changed, and a systemd timer that
# restores it after SECONDS is running: whatever becomes of the harness, the host is put right. Where
# the plan or the journal cannot be written whole (a full disk), nothing is changed. A restart makes
# the journal void, since no knob survives one.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
folder=$(dirname "$0")
journal=$folder/journal
unit=vmapbench-restore
tab=$(printf '\t')
read -r boot_id </proc/sys/kernel/random/boot_id

# Sets $value: the first line of file $1, or the chosen word where it shows a choice in brackets.
read_knob() {
    value=
    if [ "$1" = /proc/swaps ]; then
        read_swaps
        return
    fi
    { IFS= read -r value <"$1"; } 2>/dev/null || :
    case $value in *\[*\]*) value=${value#*\[} value=${value%%\]*} ;; esac
}

read_swaps() {
    while read -r device _; do
        [ "$device" = Filename ] || value=$value${value:+ }$device
    done </proc/swaps
    value=${value:-off}
}

write_knob() { # path, value
    if [ "$1" != /proc/swaps ]; then
        { printf '%s\n' "$2" >"$1"; } 2>/dev/null || :
    elif [ "$2" = off ]; then
        swapoff -a
    else
        for device in $2; do swapon "$device"; done
    fi
}

restore() {
    [ -e "$journal" ] || return 0
    tac "$journal" | while IFS=$tab read -r path before; do
        [ "$path" != boot ] || continue
        read_knob "$path"
        [ "$value" = "$before" ] || write_knob "$path" "$before"
    done
    rm -f "$journal"
}

of_this_boot() { # the journal's first row is: boot, id
    IFS=$tab read -r _ id <"$journal" && [ "$id" = "$boot_id" ]
}

give_up() {
    rm -f "$journal" "$journal.new" "$folder/plan"
    echo "$1: nothing was changed" >&2
    exit 1
}

promise_to_restore() { # seconds; nothing to promise when nothing will be changed
    if [ "$(wc -l <"$journal.new")" = 1 ]; then
        rm -f "$journal.new"
        return
    fi
    mv "$journal.new" "$journal" && sync "$journal" && sync -f "$journal" ||
        give_up "the journal cannot be kept, is the disk full?"
    systemctl stop $unit.timer 2>/dev/null
    systemd-run --quiet --collect --unit=$unit --on-active="$1" --timer-property=AccuracySec=1s \
        /bin/sh "$0" restore || give_up "systemd takes no timer"
}

write_journal() { # fails at the first row that cannot be written
    printf 'boot\t%s\n' "$boot_id" || return 1
    while IFS=$tab read -r name pattern wanted; do
        for path in $pattern; do
            [ -r "$path" ] || continue
            read_knob "$path"
            [ "$wanted" = - ] || [ "$wanted" = "$value" ] ||
                printf '%s\t%s\n' "$path" "$value" || return 1
        done
    done <"$folder/plan"
}

apply() { # seconds
    cat >"$folder/plan" && write_journal >"$journal.new" ||
        give_up "the journal cannot be written, is the disk full?"
    promise_to_restore "$1"
    while IFS=$tab read -r name pattern wanted; do
        for path in $pattern; do
            [ -r "$path" ] || continue
            read_knob "$path"
            before=$value
            [ "$wanted" = - ] || [ "$wanted" = "$before" ] || write_knob "$path" "$wanted"
            read_knob "$path"
            printf '%s\t%s\t%s\t%s\n' "$name" "$path" "$before" "$value"
        done
    done <"$folder/plan"
}

if [ -e "$journal" ] && ! of_this_boot; then rm -f "$journal"; fi
case $1 in
apply)
    restore
    apply "$2"
    ;;
restore)
    restore
    systemctl stop $unit.timer 2>/dev/null
    exit 0
    ;;
esac
