#!/bin/sh
# vmapbench-lab: everything that vmapbench does as root on a lab host.
#
# It belongs to root, mode 0755, in /usr/local/sbin; the sudoers file allows no other program. Its
# arguments are a verb and plain words: no path, no pattern, no program. Every word is checked
# before anything is done. Files and a kernel's command line come from standard input, so that root
# opens no file named by the account.
#
#   prepare                      empties the folder of trials
#   put kernel|module.ko|fragment.ko|guard SHA256 <FILE   stores a file of the next trial
#   arm METHOD <COMMAND-LINE     makes the next boot, and only that one, boot the trial kernel
#   disarm METHOD                undoes this
#   armed METHOD                 prints yes or no
#   inspect METHOD               prints what the boot method depends on
#   start METHOD                 boots the trial kernel
#   confirm                      renews the lease of the trial's guard
#   load NUMBER [NAME=VALUE ...] loads the trial's module once, in a trial kernel only
#   perf                         prints perf's version, or what to install
#   profile NUMBER [NAME=VALUE ...]   loads it while perf samples all CPUs, likewise
#   profiled                     prints perf's samples of that load, summed by stack
#   waits                        prints the lock waits during that load, if the kernel traces them
#   fragment [NAME=VALUE ...]    loads the trial's module that fragments memory, likewise
#   kmsg                         prints the kernel log as it grows
#   dmesg                        prints the kernel log
#   pagetypes                    prints free memory by kind and order
#   pstore                       prints panics that the firmware kept since the last trial
#   tune SECONDS [KNOB=VALUE ...]   reads all knobs and sets some, for at most that long
#   restore                      restores the knobs
#   reboot, reboot-now           restarts the host, cleanly or at once
set -u
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
run=/run/vmapbench # the journal of knobs; a restart removes it, and resets the knobs
unit=vmapbench-restore
tab=$(printf '\t')
tracing=/sys/kernel/tracing
@SETTINGS@

refuse() {
    printf 'vmapbench-lab: %s\n' "$1" >&2
    exit 2
}

fail() {
    printf 'vmapbench-lab: %s\n' "$1" >&2
    exit 1
}

is_number() {
    case $1 in '' | *[!0-9]* | ???????*) return 1 ;; esac
}

in_trial() {
    case " $(cat /proc/cmdline) " in *" vmapbench.trial="*) return 0 ;; esac
    return 1
}

# --- The files of a trial, in a folder that only root can change

prepare() {
    rm -rf -- "$folder" && mkdir -- "$folder" || fail "$folder cannot be created"
}

put() { # name, digest
    case $1 in
    kernel | module.ko | fragment.ko | guard) ;;
    *) refuse "put takes kernel, module.ko, fragment.ko or guard" ;;
    esac
    case $2 in *[!0-9a-f]*) refuse "a SHA-256 is 64 hexadecimal digits" ;; esac
    [ ${#2} -eq 64 ] || refuse "a SHA-256 is 64 hexadecimal digits"
    [ -d "$folder" ] || refuse "use prepare first"
    cat >"$folder/$1.part" && [ "$(sha256sum <"$folder/$1.part")" = "$2  -" ] &&
        mv -- "$folder/$1.part" "$folder/$1" && return
    rm -f -- "$folder/$1.part"
    fail "the $1 did not arrive whole; is the disk full?"
}

# --- Booting a trial once. Each boot method has METHOD_arm COMMAND-LINE, METHOD_disarm,
# METHOD_armed, METHOD_inspect and METHOD_start, with _ for - in its name.

@METHODS@
arm() { # function prefix
    in_trial && refuse "a trial kernel is running; only the known-good kernel can arm the next one"
    line=$(head -c 4096)
    [ "$(printf %s "$line" | tr -d '\040-\176' | wc -c)" -eq 0 ] && [ ${#line} -le 2047 ] ||
        refuse "a command line has at most 2047 printable ASCII characters"
    for word in rdinit=/vmapbench/guard vmapbench.trial=; do
        case " $line" in *" $word"*) ;; *) refuse "the command line has no $word" ;; esac
    done
    (umask 077 && cat -- "$folder/guard" "$initrd" >"$folder/initrd") ||
        fail "the initial file system cannot be written; is the disk full?"
    "$1_arm" "$line" && return
    "$1_disarm"
    fail "the trial was not armed"
}

with_method() { # verb, method
    case $2 in @NAMES@) ;; *) refuse "no boot method $2" ;; esac
    prefix=$(printf %s "$2" | tr - _)
    case $1 in
    arm) arm "$prefix" ;;
    armed) if "${prefix}_armed"; then echo yes; else echo no; fi ;;
    *) "${prefix}_$1" ;;
    esac
}

# --- The module

# $1: the folder, $2: number of the load, then the parameters. Runs in a session of its own, so that
# it survives the connection; result.NUMBER is written atomically. insmod calls finit_module once
# and, unlike busybox, tries nothing else: test_vmalloc's init fails on purpose when it is done.
load_once='
    now() { while read -r a b ns _; do [ "$a $b" != "now at" ] || return; done </proc/timer_list; }
    folder=$1 result=$1/result.$2
    shift 2
    now
    began=$ns
    said=$(insmod "$folder/module.ko" "$@" 2>&1)
    now
    printf "elapsed_ns=%s %s\n" "${began:+$((ns - began))}" "${said##*: }" >"$result.part" &&
        mv -- "$result.part" "$result"
'

check_parameters() {
    in_trial || refuse "not a trial kernel: modules are loaded in a trial kernel only"
    for word; do
        case $word in [A-Za-z_]*=*) ;; *) refuse "a parameter is NAME=VALUE" ;; esac
    done
}

fragment() { # parameters
    check_parameters "$@"
    insmod "$folder/fragment.ko" "$@" || fail "the module that fragments memory was not loaded"
}

load() { # number, parameters
    is_number "$1" || refuse "load takes a number"
    number=$1
    shift
    check_parameters "$@"
    setsid sh -c "$load_once" sh "$folder" "$number" "$@" </dev/null >/dev/null 2>&1 &
    wait $!
}

# --- Where the time of a load goes

find_perf() {
    export PERF_CONFIG=/dev/null
    # Ubuntu's /usr/bin/perf finds only the perf built for the running kernel.
    for perf in perf /usr/lib/linux-tools/*/perf /usr/lib/linux-tools-*/perf; do
        "$perf" version 2>/dev/null && return
    done
    fail "perf is missing: install linux-perf on Debian, linux-tools-generic on Ubuntu, else perf"
}

triggers() {
    cat <<'END'
@TRIGGERS@
END
}

trace_locks() {
    [ -e $tracing/trace ] || mount -t tracefs tracefs $tracing
    [ -e $tracing/events/lock/contention_begin ] || return 0
    triggers | while IFS=$tab read -r file line; do printf '%s\n' "$line" >>"$tracing/$file"; done
}

profile() { # number, parameters
    is_number "$1" || refuse "profile takes a number"
    number=$1
    shift
    check_parameters "$@"
    find_perf >/dev/null
    trace_locks 2>/dev/null
    echo 1 >/proc/sys/kernel/kptr_restrict # 2 would hide the functions' names
    setsid "$perf" record --quiet --all-cpus --all-kernel -g --kernel-callchains -F "$rate" \
        --no-buildid --no-buildid-cache --max-size=1G -o "$folder/perf.data" -- \
        sh -c "$load_once" sh "$folder" "$number" "$@" </dev/null >"$folder/perf.log" 2>&1 &
    wait $! || [ -e "$folder/result.$number" ] || fail "perf: $(tail -n 3 "$folder/perf.log")"
}

profiled() {
    in_trial || refuse "not a trial kernel: only a trial kernel is profiled"
    find_perf >/dev/null
    "$perf" report -i "$folder/perf.data" --stdio -q --no-children -F sample -s pid \
        --max-stack 40 -g folded,0,caller,count --percent-limit 0 --kallsyms /proc/kallsyms \
        </dev/null 2>/dev/null | head -c 33554432
}

waits() {
    [ ! -e $tracing/events/synthetic/lock_wait/hist ] ||
        cat $tracing/events/synthetic/lock_wait/hist
}

# --- The kernel log

pstore() {
    find /sys/fs/pstore /var/lib/systemd/pstore -type f -newer "$folder/kernel" 2>/dev/null |
        sort | head -n 32 | while IFS= read -r file; do cat -- "$file" && echo; done
}

# --- Knobs of the running kernel: name, tab, pattern of its files. No other file is written.

knobs() {
    cat <<'END'
@KNOBS@
END
}

# Sets $value: the first line of file $1, or the word in brackets if it has one.
read_knob() {
    value=
    if [ "$1" = /proc/swaps ]; then
        while read -r device _; do
            [ "$device" = Filename ] || value=$value${value:+ }$device
        done </proc/swaps
        value=${value:-off}
        return
    fi
    { IFS= read -r value <"$1"; } 2>/dev/null || :
    case $value in *\[*\]*) value=${value#*\[} value=${value%%\]*} ;; esac
}

# Calls $1 for each file of each knob, with $name, $path, $value, and $wanted (- if not to be set).
each_file() { # function, KNOB=VALUE ...
    action=$1
    shift
    knobs | while IFS=$tab read -r name pattern; do
        wanted=-
        for pair; do [ "${pair%%=*}" != "$name" ] || wanted=${pair#*=}; done
        for path in $pattern; do
            [ -r "$path" ] || continue
            read_knob "$path"
            "$action" || exit 1
        done
    done
}

differs() {
    [ "$wanted" != - ] && [ "$wanted" != "$value" ]
}

note_knob() {
    ! differs || printf '%s\t%s\n' "$path" "$value"
}

set_knob() {
    before=$value
    if differs; then
        if [ "$path" = /proc/swaps ]; then swapoff -a; else
            { printf '%s\n' "$wanted" >"$path"; } 2>/dev/null || :
        fi
        read_knob "$path"
    fi
    printf '%s\t%s\t%s\t%s\n' "$name" "$path" "$before" "$value"
}

restore_script() {
    cat <<END
export PATH=$PATH
tac $run/journal | while IFS='$tab' read -r path value; do
END
    cat <<'END'
    if [ "$path" != /proc/swaps ]; then
        printf '%s\n' "$value" >"$path"
    elif [ "$value" != off ]; then
        for device in $value; do swapon "$device"; done
    fi
done 2>/dev/null
END
    echo "rm -f $run/journal"
}

give_up() {
    rm -f "$run/journal" "$run/journal.new"
    fail "$1: nothing was changed"
}

# Before anything is changed, the values found are in the journal, and a systemd timer that restores
# them is running, so that they are restored even if the harness dies.
promise_to_restore() { # KNOB=VALUE ...
    mkdir -p "$run" && each_file note_knob "$@" >"$run/journal.new" &&
        restore_script >"$run/restore" ||
        give_up "the journal cannot be written, is there no room in /run?"
    [ -s "$run/journal.new" ] || return 0
    mv "$run/journal.new" "$run/journal" || give_up "the journal cannot be kept"
    systemd-run --quiet --collect --unit=$unit --on-active="$seconds" \
        --timer-property=AccuracySec=1s /bin/sh "$run/restore" || give_up "systemd starts no timer"
}

tune() { # seconds, KNOB=VALUE ...
    is_number "$1" || refuse "tune takes a number of seconds"
    seconds=$1
    shift
    for pair; do
        case $pair in *=*) ;; *) refuse "tune takes KNOB=VALUE" ;; esac
        knobs | cut -f 1 | grep -qxF -e "${pair%%=*}" || refuse "no knob ${pair%%=*}"
    done
    restore
    [ $# -eq 0 ] || promise_to_restore "$@"
    each_file set_knob "$@"
}

restore() {
    [ ! -e $run/journal ] || sh $run/restore
    systemctl stop $unit.timer 2>/dev/null
    return 0
}

# --- Which verb

takes() { # least and greatest number of words after the verb, then all words
    [ $(($# - 3)) -ge "$1" ] && [ $(($# - 3)) -le "$2" ] || refuse "wrong number of words for $3"
}

for word; do
    case $word in
    '' | .* | *..* | *[!A-Za-z0-9_.,:=+-]*) refuse "a word has characters that are not allowed" ;;
    esac
done
verb=${1-}
case $verb in
prepare | confirm | kmsg | dmesg | pagetypes | pstore | perf | profiled | waits | restore | reboot | \
    reboot-now) takes 0 0 "$@" ;;
put) takes 2 2 "$@" ;;
arm | disarm | armed | inspect | start) takes 1 1 "$@" ;;
load | profile | fragment | tune) takes 1 99 "$@" ;;
*) refuse "no verb ${verb:-was given}" ;;
esac
case $verb in
arm | disarm | armed | inspect | start) with_method "$@" ;;
confirm) pkill -USR1 -x vmapbench-guard ;;
kmsg) exec cat /dev/kmsg ;;
dmesg) exec dmesg ;;
pagetypes) exec cat /proc/pagetypeinfo ;;
perf) find_perf ;;
reboot) systemctl reboot ;;
reboot-now) systemctl reboot --force --force ;; # a crashed kernel may never shut down
*)
    shift
    "$verb" "$@"
    ;;
esac
