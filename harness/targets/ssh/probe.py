"""Checks whether a host can run and recover from trials, without changing it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from harness.health import Health, Row
from harness.spec.architecture import ARCHITECTURES, Architecture, by_machine
from harness.spec.host import HostSpec
from harness.targets.ssh import helper
from harness.targets.ssh.boot_method import BootMethod, armed
from harness.targets.ssh.identity import read_running
from harness.targets.ssh.lock import read_lock
from harness.targets.ssh.power import can_cycle
from harness.targets.ssh.shell import HostAnswerError, Shell

PROGRAMS = (
    *("cat", "cut", "dmesg", "find", "flock", "grep", "head", "insmod", "install", "mv", "nproc"),
    *("od", "pkill", "rm", "sed", "setsid", "sh", "sha256sum", "sort", "stat", "sync"),
    *("systemctl", "tac", "tr", "wc"),
)
_ROOM_MIB = 400  # for the kernel, the host's initramfs twice, the module and the guard
_NO_SYSTEMD = ("", "offline", "unknown")
_FILE_SYSTEMS = ("ext4", "ext3", "ext2", "xfs")  # kernels/fragments/lab.config
_NETWORK = (  # drivers in kernels/fragments/lab.config; an architecture may have more
    *("virtio_net", "e1000e", "igb", "igc", "ixgbe", "i40e", "r8169", "atlantic", "tg3", "bnxt_en"),
    *("bond", "bridge", "vlan"),
)


@dataclass(frozen=True)
class _Host:
    shell: Shell
    spec: HostSpec
    method: BootMethod
    helper: list[Row]
    machine: str  # uname -m
    expected: Architecture | None  # of the kernels to run; None: any


def check_host(
    shell: Shell, spec: HostSpec, method: BootMethod, arch: Architecture | None = None
) -> list[Row]:
    """Return a row for each requirement of a run. Raises ConnectionLostError.

    `arch`: of the kernels to run; None: any supported one.
    """
    looks: tuple[Callable[[_Host], Iterator[Row]], ...] = (
        _kernel,
        _programs,
        _helper,
        _state,
        _initrd,
        _boot,
        _drivers,
        _topology,
        _recovery,
    )
    machine = shell.run(["uname", "-m"]).stdout.strip()
    host = _Host(shell, spec, method, check_helper(shell, spec), machine, arch)
    return [row for look in looks for row in look(host)]


def count_cpus(shell: Shell) -> int:
    """Return the number of online CPUs. Raises HostAnswerError."""
    said = shell.run(["nproc", "--all"], check=True).stdout
    if not re.fullmatch(r"[1-9][0-9]{0,4}\n?", said):
        raise HostAnswerError(f"host {shell.name}: nproc printed {said[:80]!r}")
    return int(said)


def _kernel(host: _Host) -> Iterator[Row]:
    running = read_running(host.shell)
    if running.nonce:
        remedy = f"vmapbench host recover {host.spec.name}"
        yield Row("kernel", Health.WARN, f"a trial kernel is running, {running.release}", remedy)
    else:
        yield Row("kernel", Health.OK, running.release)
    yield from _machine(host.machine, host.expected)
    # for ordinary users systemctl needs D-Bus; the folder does not, see sd_booted(3)
    said = host.shell.run(["systemctl", "is-system-running"]).stdout.strip()
    if said in _NO_SYSTEMD and host.shell.run(["test", "-d", "/run/systemd/system"]).returncode:
        yield Row("systemd", Health.FAIL, "not running", "only hosts with systemd are supported")


def _machine(machine: str, expected: Architecture | None) -> Iterator[Row]:
    """Yield a failure if the host cannot run the kernels."""
    if by_machine(machine) is None:
        known = ", ".join(arch.machine for arch in ARCHITECTURES.values())
        yield Row("machine", Health.FAIL, machine, f"supported are {known}")
    elif expected and machine != expected.machine:
        found = f"{machine}, but the kernels are for {expected.name}"
        yield Row(
            "machine", Health.FAIL, found, "use kernels for this architecture, or another host"
        )


def _programs(host: _Host) -> Iterator[Row]:
    look = 'PATH=$PATH:/usr/sbin:/sbin; for p; do command -v "$p" >/dev/null || echo "$p"; done'
    needed = sorted({*PROGRAMS, *host.method.programs(), *(("sudo",) if host.spec.sudo else ())})
    missing = host.shell.run(["sh", "-c", look, "sh", *needed]).stdout.split()
    if missing:
        packages = "coreutils, util-linux, procps, findutils, kmod, and the boot method's package"
        yield Row("programs", Health.FAIL, f"missing: {', '.join(missing)}", f"install {packages}")
    else:
        yield Row("programs", Health.OK, f"all {len(needed)} there")


def check_helper(shell: Shell, spec: HostSpec) -> list[Row]:
    """Return rows on root access: the helper, and the sudo rules for it."""
    if not spec.sudo:
        uid = shell.run(["id", "-u"]).stdout.strip()
        if uid == "0":
            return [Row("root", Health.OK, "the account is root")]
        remedy = "set `sudo: true`, and install the helper and the sudoers file (docs/howto/lab.md)"
        return [Row("root", Health.FAIL, f"sudo: false, but the account's id is {uid}", remedy)]
    install = f"install what vmapbench host helper {spec.name} prints (docs/howto/lab.md, step 5)"
    said = shell.run(["sha256sum", "--", helper.PATH]).stdout.split(" ")[0]
    owner = shell.run(["stat", "-L", "-c", "%u %a", "--", helper.PATH]).stdout
    if not said:
        return [Row("helper", Health.FAIL, f"{helper.PATH} does not exist", install)]
    if said != helper.digest(spec):
        found = f"{helper.PATH} differs from that of this version of vmapbench for this host"
        return [Row("helper", Health.FAIL, found, install)]
    if not re.fullmatch(r"0 [0-7]?[0-7][0145][0145]\n?", owner):
        found = f"{helper.PATH} is writable for users other than root"
        return [Row("helper", Health.FAIL, found, f"chown root: and chmod 755 it; {install}")]
    rows = [Row("helper", Health.OK, f"{helper.PATH}, SHA-256 {said[:12]}")]
    # sudo -l COMMAND reports whether the command is allowed, and does not run it
    if shell.run(["sudo", "-n", "-l", "--", helper.PATH, "confirm"]).returncode:
        remedy = (
            f"install what vmapbench host sudoers {spec.name} prints (docs/howto/lab.md, step 5)"
        )
        return [*rows, Row("sudo", Health.FAIL, "the helper is not allowed", remedy)]
    more = other_commands(shell.run(["sudo", "-n", "-l"]).stdout)
    if more:
        remedy = "remove these rules: the helper is all that vmapbench needs"
        return [*rows, Row("sudo", Health.WARN, f"also allowed: {', '.join(more)}"[:300], remedy)]
    return [*rows, Row("sudo", Health.OK, "only the helper is allowed")]


def other_commands(listing: str) -> list[str]:
    """Return the commands other than the helper that `sudo -l` lists. Pure."""
    _, _, rules = listing.partition("may run the following commands")
    rules = re.sub(r"\n {8,}", " ", rules)  # long rules are continued on indented lines
    commands = [
        command
        for rule in re.findall(r"^ +\([^)]*\) *(?:[A-Z_]+: *)*(.*)$", rules, re.MULTILINE)
        for command in rule.split(", ")
    ]
    return [command for command in commands if command != helper.PATH]


def _helper(host: _Host) -> Iterator[Row]:
    yield from host.helper


def _state(host: _Host) -> Iterator[Row]:
    if host.shell.run(["test", "-d", host.spec.state, "-a", "-w", host.spec.state]).returncode:
        remedy = f"as root: install -d -o {host.spec.user or 'ACCOUNT'} {host.spec.state}"
        yield Row(
            "folder",
            Health.FAIL,
            f"{host.spec.state} is missing or not owned by the account",
            remedy,
        )
        return
    place = str(PurePosixPath(helper.trial_folder(host.spec)).parent)
    free = host.shell.run(["df", "-m", "--output=avail", place]).stdout.split()
    free_mib = int(free[-1]) if free and re.fullmatch(r"[0-9]{1,12}", free[-1]) else 0
    if free_mib < _ROOM_MIB:
        remedy = f"free disk space: {_ROOM_MIB} MiB are needed"
        yield Row("folder", Health.FAIL, f"{free_mib} MiB free at {place}", remedy)
    else:
        yield Row("folder", Health.OK, f"{host.spec.state}; {free_mib} MiB free at {place}")
    held = read_lock(host.shell, host.spec.state)
    if held:
        remedy = f"vmapbench host unlock {host.spec.name} --break, if that run has certainly ended"
        yield Row("lock", Health.WARN, held.describe(), remedy)
    else:
        yield Row("lock", Health.OK, "free")


def _initrd(host: _Host) -> Iterator[Row]:
    path = helper.host_initrd(host.spec, read_running(host.shell).release)
    if host.shell.run(["test", "-f", path]).returncode:
        remedy = "set the known-good kernel's with  boot: {initrd: PATH}  in the host file"
        yield Row("initial file system", Health.FAIL, f"{path} does not exist", remedy)
    else:
        yield Row("initial file system", Health.OK, path)


def _boot(host: _Host) -> Iterator[Row]:
    if any(row.bad for row in host.helper):
        return  # the next check needs the helper
    faults = host.method.faults(host.shell)
    for fault in faults:
        yield Row(
            f"boot by {host.spec.boot.method}",
            Health.FAIL,
            fault,
            "see docs/howto/lab.md, Boot methods",
        )
    if not faults:
        yield Row(f"boot by {host.spec.boot.method}", Health.OK, "possible")
    if armed(host.shell, host.method):
        remedy = f"vmapbench host recover {host.spec.name}"
        yield Row("next start", Health.WARN, "a trial is armed", remedy)
    else:
        yield Row("next start", Health.OK, "the known-good kernel")


def _drivers(host: _Host) -> Iterator[Row]:
    remedy = "build it into the kernels under test: add a fragment next to lab.config"
    kind = host.shell.run(["findmnt", "-nro", "FSTYPE", "/"]).stdout.strip()
    state = Health.OK if kind in _FILE_SYSTEMS else Health.WARN
    yield Row("root file system", state, kind or "unknown", "" if state is Health.OK else remedy)
    drivers, arch = _network_drivers(host.shell), by_machine(host.machine)
    built_in = (*_NETWORK, *(arch.network_drivers if arch else ()))
    for device, driver in drivers.items():
        state = Health.OK if driver in built_in else Health.WARN
        found = f"{device}: driver {driver or 'unknown'}"
        yield Row("network", state, found, "" if state is Health.OK else remedy)
    if not drivers:
        yield Row("network", Health.WARN, "no default route", "see docs/howto/lab.md, Drivers")


def _network_drivers(shell: Shell) -> dict[str, str]:
    """Return device -> driver for the devices of default routes (/proc/net/route)."""
    lines = shell.run(["cat", "/proc/net/route"]).stdout.splitlines()[1:]
    fields = [line.split() for line in lines]
    devices = {parts[0] for parts in fields if len(parts) > 1 and parts[1] == "00000000"}
    found = {}
    for device in sorted(devices):
        link = shell.run(["readlink", "-e", f"/sys/class/net/{device}/device/driver"]).stdout
        kind = shell.run(["cat", f"/sys/class/net/{device}/uevent"]).stdout
        virtual = next((line[8:] for line in kind.split("\n") if line.startswith("DEVTYPE=")), "")
        driver = link.strip().rpartition("/")[2]
        if driver.startswith("virtio"):  # a virtio device, on any bus
            driver = "virtio_net"
        found[device] = driver or virtual
    return found


def _topology(host: _Host) -> Iterator[Row]:
    cpus = count_cpus(host.shell)
    listed = host.shell.run(["lscpu", "--parse=SOCKET,CORE,CPU,NODE"]).stdout.splitlines()
    rows = [line.split(",") for line in listed if line.count(",") == 3 and line[0] != "#"]
    found = {
        "cpus": cpus,
        "sockets": len({row[0] for row in rows}) or 1,
        "threads_per_core": max(1, cpus // max(1, len({(row[0], row[1]) for row in rows}))),
        "numa_nodes": len({row[3] for row in rows if len(row) > 3}) or 1,
    }
    expected = host.spec.topology.model_dump(exclude_none=True) if host.spec.topology else {}
    wrong = [
        f"{key}: {found[key]}, expected {value}"
        for key, value in expected.items()
        if found[key] != value
    ]
    if wrong:
        remedy = "fix the host file, or check whether SMT or a CPU is disabled"
        yield Row("topology", Health.FAIL, "; ".join(wrong), remedy)
    else:
        text = ", ".join(f"{value} {key}" for key, value in found.items())
        yield Row("topology", Health.OK, text)


def _recovery(host: _Host) -> Iterator[Row]:
    look = 'for d in /sys/class/watchdog/watchdog*; do cat "$d/identity" 2>/dev/null; done'
    dogs = [line for line in host.shell.run(["sh", "-c", look]).stdout.split("\n") if line]
    hardware = [dog for dog in dogs if "Software" not in dog]
    if can_cycle(host.spec):
        yield Row("power", Health.OK, host.spec.power.method)
    elif hardware:
        yield Row(
            "power",
            Health.WARN,
            "none",
            "a hang before the guard starts needs a manual reset",
        )
    else:
        remedy = "a hang before the guard starts needs a manual reset: add a power method"
        yield Row("power", Health.WARN, "none, and no hardware watchdog", remedy)
    yield Row("watchdog", Health.OK, ", ".join(dogs) or "none but the trial kernel's own")
    backend = host.shell.run(["cat", "/sys/module/pstore/parameters/backend"]).stdout.strip()
    if backend in ("", "(null)"):
        remedy = "the last lines of a panic may be lost: configure `console`, or EFI or ERST pstore"
        state = Health.OK if host.spec.console else Health.WARN
        yield Row("panic log", state, "no pstore", "" if host.spec.console else remedy)
    else:
        yield Row("panic log", Health.OK, f"pstore: {backend}")
