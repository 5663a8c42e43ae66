"""Boots kernels in QEMU guests.

`qemu_argv` is pure; `QemuTarget.boot` runs it and watches it over QMP: the guest's init reports
through the second serial port (see `harness.guest`), the kernel's console goes to the first.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, ToolError
from harness.guest.initramfs import (
    base_archive,
    ensure_init,
    measuring_script,
    new_nonce,
    render_script,
    script_archive,
)
from harness.process import Runner, Spawner
from harness.spec import playbook
from harness.targets.accelerator import (
    CPU_MODEL,
    MACHINE,
    QEMU,
    ensure_kvm_probe,
    qemu_version,
)
from harness.targets.base import BootRequest, BootResult, Progress
from harness.targets.watch import ArgvFor, BootLimits, watch_guest

# `loglevel=6`: the console shows what a developer of a broken kernel needs, not each driver's line.
# `oops=panic`: a kernel thread that oopsed would leave the loading thread waiting for ever.
# `log_buf_len`: 64 workers x 12 lines overflow the default buffer.
# `tsc=reliable`: no clock watchdog, which on a busy host takes a vCPU that waits for its core for
# an unstable clock. `no_timer_check`: nor the panic over a timer interrupt that came late.
BOOT_PARAMETERS = (
    *("console=ttyS0", "loglevel=6", "panic=-1", "oops=panic", "log_buf_len=16M"),
    *("tsc=reliable", "no_timer_check"),
)


@dataclass(frozen=True)
class Guest:
    """The machine that a guest sees, and the files that it is made from."""

    cpus: int
    memory_mib: int
    image: Path
    initramfs: Path
    boot_parameters: tuple[str, ...]
    accelerator: str = "tcg"
    cpu_model: str = CPU_MODEL
    sockets: int = 1
    threads_per_core: int = 1
    numa_nodes: int = 1
    extra: tuple[str, ...] = ()  # further QEMU options


def qemu_argv(guest: Guest, console: Path, report: Path, monitor: Path) -> list[str]:
    """Return the QEMU command line. Pure."""
    cores = guest.cpus // (guest.sockets * guest.threads_per_core)
    topology = f"sockets={guest.sockets},cores={cores},threads={guest.threads_per_core}"
    accelerator = "tcg,thread=multi" if guest.accelerator == "tcg" else guest.accelerator
    return [
        *[QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *["-machine", MACHINE, "-cpu", guest.cpu_model, "-accel", accelerator],
        *["-smp", f"{guest.cpus},{topology}", "-m", f"{guest.memory_mib}M"],
        *_numa_argv(guest),
        *["-kernel", str(guest.image), "-initrd", str(guest.initramfs)],
        *["-append", " ".join(guest.boot_parameters)],
        *["-chardev", f"file,id=console,path={_quoted(console)}", "-serial", "chardev:console"],
        *["-chardev", f"file,id=report,path={_quoted(report)}", "-serial", "chardev:report"],
        *["-qmp", f"unix:{_quoted(monitor)},server=on,wait=off"],
        *guest.extra,
    ]


def _numa_argv(guest: Guest) -> list[str]:
    """Return the options that split memory and CPUs evenly over the guest's NUMA nodes."""
    if guest.numa_nodes == 1:
        return []
    options = []
    for node in range(guest.numa_nodes):
        first, last = (guest.cpus * n // guest.numa_nodes for n in (node, node + 1))
        memory, more = (guest.memory_mib * n // guest.numa_nodes for n in (node, node + 1))
        options += ["-object", f"memory-backend-ram,id=ram{node},size={more - memory}M"]
        options += ["-numa", f"node,nodeid={node},cpus={first}-{last - 1},memdev=ram{node}"]
    return options


def _quoted(path: Path) -> str:
    return str(path).replace(",", ",,")  # QEMU's own way to write a comma in an option


class QemuTarget:
    """Guests on this machine. Times stand for a real machine only with a core for each vCPU."""

    disturbed_by_host = True

    def __init__(self, spec: playbook.QemuTarget, cache: Path, runner: Runner):
        """`cache` keeps the compiled init and what is known of KVM."""
        self._spec, self._cache, self._runner = spec, cache, runner
        self._accelerator = spec.accelerator if spec.accelerator != "auto" else ""

    def check(self) -> None:
        """Raise ToolError where QEMU is missing or the accelerator asked for does not work."""
        qemu_version(self._runner)
        ensure_init(self._cache, self._runner)
        if self._spec.accelerator == "kvm":
            probe = ensure_kvm_probe(self._cache, self._runner)
            if not probe.works:
                raise ToolError(
                    f"accelerator kvm: {probe.reason}; `accelerator: auto` would take TCG here"
                )

    def side_by_side(self, memory_mib: int) -> int:  # noqa: ARG002
        """Return 1: boots at once would disturb each other."""
        return 1

    def accelerator(self) -> str:
        """Return `kvm` or `tcg`; the first call may boot the probe guest."""
        if not self._accelerator:
            works = ensure_kvm_probe(self._cache, self._runner).works
            self._accelerator = "kvm" if works else "tcg"
        return self._accelerator

    def machine(self) -> Mapping[str, Any]:
        """Return what is kept with every sample."""
        return {
            "kind": "qemu",
            "qemu": ".".join(map(str, qemu_version(self._runner))),
            "accelerator": self.accelerator(),
            "clock": "the host's",
            **self._spec.model_dump(include={"sockets", "threads_per_core", "numa_nodes"}),
        }

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return the QEMU command of `request`. Nothing is run but, once, the KVM probe."""
        return [tuple(self._argv(request, request.folder / "qmp"))]

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot, load the module, collect, power off. Raises InfrastructureError only."""
        self.prepare(request)
        return boot_guest(
            lambda monitor: self._argv(request, monitor),
            request,
            self._nonce,
            self.limits(request),
            self._runner,
            progress,
        )

    def prepare(self, request: BootRequest) -> None:
        """Write the initramfs and the command line of this boot to its folder."""
        self._nonce = new_nonce()
        init = ensure_init(self._cache, self._runner)
        script = render_script(self._nonce, self.script(request))
        archive = base_archive(init.read_bytes(), request.kernel.module.read_bytes())
        (request.folder / "initramfs").write_bytes(archive + script_archive(script))
        command = shlex.join(self._argv(request, request.folder / "qmp"))
        (request.folder / "command.txt").write_text(command + "\n", encoding="utf-8")

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the lines that the guest's init carries out."""
        return measuring_script(request.loads)

    def limits(self, request: BootRequest) -> BootLimits:
        """Return how long each phase may take; TCG boots slow down with the vCPUs."""
        boot_s = 60.0 + 4.0 * request.cpus if self.accelerator() == "tcg" else 60.0
        return BootLimits(boot_s=boot_s, test_s=request.expected_s)

    def close(self) -> None:
        """Nothing is held between boots."""

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine of `request`. Raises InputError where its CPUs do not divide."""
        spec = self._spec
        if request.cpus % (spec.sockets * spec.threads_per_core):
            raise InputError(
                f"{request.cpus} cpus do not divide into {spec.sockets} sockets x "
                f"{spec.threads_per_core} threads per core"
            )
        return Guest(
            cpus=request.cpus,
            memory_mib=request.memory_mib,
            image=request.kernel.image,
            initramfs=request.folder / "initramfs",
            boot_parameters=(
                *BOOT_PARAMETERS,
                *spec.boot_parameters,
                *request.kernel.spec.boot_parameters,
            ),
            accelerator=self.accelerator(),
            sockets=spec.sockets,
            threads_per_core=spec.threads_per_core,
            numa_nodes=min(spec.numa_nodes, request.cpus),
        )

    def _argv(self, request: BootRequest, monitor: Path) -> list[str]:
        console, report = request.folder / "console.log", request.folder / "report"
        return qemu_argv(self.guest(request), console, report, monitor)


def boot_guest(
    argv_for: ArgvFor,
    request: BootRequest,
    nonce: str,
    limits: BootLimits,
    runner: Spawner,
    progress: Progress,
    env: Mapping[str, str] | None = None,
) -> BootResult:
    """Run one guest to its end and return what it said. Shared by every QEMU-based target."""
    outcome = watch_guest(
        argv_for, request.folder, nonce, len(request.loads), limits, runner, progress, env
    )
    (request.folder / "initramfs").unlink(missing_ok=True)
    if outcome.kernel_log is not None:
        (request.folder / "kernel.log").write_text(outcome.kernel_log, encoding="utf-8")
    return BootResult(
        verdict=outcome.verdict,
        reason=outcome.reason,
        console=request.folder / "console.log",
        kernel_log=outcome.kernel_log,
        load_ns=outcome.load_ns,
        argv=outcome.argv,
        elapsed_s=outcome.elapsed_s,
        facts=outcome.facts,
    )


def make_target(spec: playbook.QemuTarget, cache: Path, runner: Runner) -> QemuTarget:
    """Return the target of a playbook that says `kind: qemu`."""
    return QemuTarget(spec, cache, runner)
