"""A lab host made of scripts behind a real sshd: it boots by changing what it says of itself.

ssh, files, digests, the lock and the helper are real; `systemctl`, `kexec`, `insmod`,
`pkill`, `dmesg` and the files below /proc are scripts that keep the machine's state in a folder.
What real kernels do is tested in tests/e2e.
"""

import uuid
from pathlib import Path

from harness.spec.host import load_host_file
from tests.flow.loopback import LoopbackServer

RELEASE = "6.12.0-fake"

_CAT = """
m=@MACHINE@
[ "$1" = -- ] && shift
case "$1" in
/proc/sys/kernel/random/boot_id) exec /bin/cat $m/boot_id;;
/proc/sys/kernel/osrelease) exec /bin/cat $m/release;;
/proc/sys/kernel/kexec_load_disabled) echo 0; exit;;
/proc/version) echo "Linux version $(/bin/cat $m/release)"; exit;;
/proc/cmdline) exec /bin/cat $m/cmdline;;
/sys/kernel/kexec_loaded) [ -e $m/kexec ] && echo 1 || echo 0; exit;;
/sys/kernel/security/lockdown) echo "[none] integrity"; exit;;
/dev/kmsg) exec tail -n +1 -F $m/kmsg;;
esac
exec /bin/cat "$@"
"""
_KEXEC = """
m=@MACHINE@
case "$1" in
--unload) rm -f $m/kexec;;
--load) for w; do case "$w" in --command-line=*) echo "${w#*=}" >$m/kexec;; esac; done;;
esac
"""
_SYSTEMCTL = """
m=@MACHINE@
echo "$*" >>$m/commands
case "$1" in
kexec) next=$(/bin/cat $m/kexec) && behaviour=$(/bin/cat $m/behaviour);;
reboot) behaviour=home;;
is-system-running) echo running; exit;;
*) exit 0;;
esac
rm -f $m/kexec
exec $m/bin/boot "$behaviour" "$next"
"""
# Every connection ends, and what answers next is another boot.
_BOOT = """
m=@MACHINE@
/bin/cat /proc/sys/kernel/random/uuid >$m/boot_id
: >$m/kmsg
case "$1" in
good) echo "$2" >$m/cmdline; echo @RELEASE@ >$m/release; echo "6,0,1,-;Linux version" >$m/kmsg;;
hang) touch $m/down;;
*) echo "root=/dev/fake ro quiet" >$m/cmdline; echo 6.1.0-known-good >$m/release; rm -f $m/down;;
esac
server=$(/bin/cat $m/../pid)
self=$$; while read -r pid; do [ "$pid" != "$self" ] && kill -9 "$pid"; done <<END
$(ps -o pid= --ppid "$server" | tr -d ' ')
END
exit 0
"""
_INSMOD = """
m=@MACHINE@
[ -x $m/on_load ] && setsid $m/on_load >/dev/null 2>&1 &
echo "$*" >>$m/commands
sleep "$(/bin/cat $m/load_s)"
/bin/cat $m/summary >>$m/dmesg
read -r _ _ ns _ <$m/timer_list
echo "now at $((ns + 5000000)) nsecs" >$m/timer_list
echo "insmod: ERROR: could not insert module $1: Resource temporarily unavailable" >&2
exit 1
"""
# It loads the module as perf does, and prints what a real one printed.
_PERF = """
m=@MACHINE@
echo "perf $*" >>$m/commands
case "$1" in
version) /bin/cat $m/perf_version;;
report) /bin/cat $m/profile;;
record) while [ "$1" != -- ]; do shift; done; shift; exec "$@";;
esac
"""
_SCRIPTS = {
    "cat": _CAT,
    "kexec": _KEXEC,
    "systemctl": _SYSTEMCTL,
    "boot": _BOOT,
    "dmesg": "exec /bin/cat @MACHINE@/dmesg",
    "pkill": 'echo "$*" >>@MACHINE@/commands; exit $(/bin/cat @MACHINE@/guard)',
    "od": "echo",
    "find": "ls @MACHINE@/pstore/* 2>/dev/null",
    "on_connect": """[ -e @MACHINE@/down ] && exit 1
PATH=@MACHINE@/bin:$PATH; export PATH
exec sh -c "$(printf '%s\n' "$SSH_ORIGINAL_COMMAND" |
    sed 's,^export PATH=,&@MACHINE@/bin:,; s,/proc/timer_list,@MACHINE@/timer_list,
        s,/sys/kernel/tracing,@MACHINE@/tracing,; s,/proc/sys/kernel/kptr,@MACHINE@/kptr,
        s,/run/vmapbench,@MACHINE@/run,')"
""",
    "power": "rm -f @MACHINE@/down; echo power >>@MACHINE@/commands; exec @MACHINE@/bin/boot home",
    "insmod": _INSMOD,
    "perf": _PERF,
}


class ScriptedHost(LoopbackServer):
    """See above. `behaviour`: what the next trial does: good, hang, or anything else: come home."""

    def __init__(self, folder: Path, *, wrapper=()):
        self.machine = folder / "machine"
        super().__init__(folder, f"ForceCommand {self.machine}/bin/on_connect", wrapper=wrapper)

    def start(self):
        (self.machine / "bin").mkdir(parents=True, exist_ok=True)
        for name, template in _SCRIPTS.items():
            script = template
            for word, value in (
                ("@MACHINE@", str(self.machine)),
                ("@RELEASE@", RELEASE),
            ):
                script = script.replace(word, value)
            self.script(name, script)
        (self.folder / "state").mkdir(exist_ok=True)
        (self.folder / "initrd").write_bytes(b"the host's own")
        for name, text in {
            "boot_id": str(uuid.uuid4()),
            "release": "6.1.0-known-good",
            "cmdline": "root=/dev/fake ro quiet",
            "behaviour": "good",
            "guard": "0",
            "load_s": "0.2",
            "kmsg": "",
            "dmesg": "",
            "summary": "",
            "timer_list": "now at 1000000 nsecs",
            "commands": "",
            "perf_version": "perf version 6.1.192",
            "profile": "",
        }.items():
            self.set(name, text)
        super().start()

    def script(self, name, text):
        path = self.machine / "bin" / name
        path.write_text(f"#!/bin/sh\n{text.lstrip()}")
        path.chmod(0o755)

    def set(self, name, text):
        (self.machine / name).write_text(text + "\n")

    def get(self, name):
        return (self.machine / name).read_text().strip()

    def on_load(self, text):
        """What happens on the machine while the module is loaded."""
        path = self.machine / "on_load"
        path.write_text(f"#!/bin/sh\nm={self.machine}\nPATH=$m/bin:$PATH\n{text}\n")
        path.chmod(0o755)

    @property
    def on_known_good(self):
        return (
            "vmapbench.trial" not in self.get("cmdline") and not (self.machine / "kexec").exists()
        )

    def guard(self, cache, runner, arch) -> Path:
        """A guard that is never run."""
        return self.machine / "bin" / "power"

    def spec(self, folder: Path, **more):
        """Its host file, trusted."""
        self.trust(folder / "known")
        boot = "{answer_within_s: 10, confirm_within_s: 30, initrd: %s}" % (self.folder / "initrd")
        text = self.host_text(known_hosts="known", boot=boot, **more)
        if "power" not in more:
            text += f"power: {{method: command, cycle: [{self.machine}/bin/power]}}\n"
        (folder / "box.yaml").write_text(text)
        return load_host_file(folder / "box.yaml")


def kernel_log(workers=2):
    from tests.flow.fakes import render_fake_log

    return render_fake_log(workers, 1000)
