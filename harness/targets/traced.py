"""QEMU guests with tracing of all vmalloc events from the kernel's first allocation on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.model.trace import BOOT_EVENTS
from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import Guest, QemuTarget

TRACEFS = "/sys/kernel/tracing"
TRACE = "trace"  # in the boot's folder


def tracing_parameters(online_cpus: int, buffer_mib: int) -> tuple[str, ...]:
    """Return the boot parameters of a traced kernel. Pure.

    `maxcpus`: CPUs beyond are possible, so the kernel makes vmap nodes for them, but never run.
    `trace_clock`: left to itself, Linux 6.1 may find its clock unstable during boot and take
    another, which empties the buffer. `global` orders the events of several CPUs.
    `no_hash_pointers`: addresses of per-CPU chunks and of /proc/vmallocinfo are needed as they are.
    """
    return (
        f"maxcpus={online_cpus}",
        f"trace_event={','.join(BOOT_EVENTS)}",
        f"trace_buf_size={buffer_mib}M",
        f"trace_clock={'local' if online_cpus == 1 else 'global'}",
        "no_hash_pointers",
    )


def tracing_script(cases: Sequence[tuple[str, str]], online_cpus: int = 1) -> list[str]:
    """Return init's lines for (name, module parameters) pairs: mark, load; at the end the trace.

    On one CPU the workers that purge are real-time tasks, and so is init, which purges as it loads
    and unloads: a purge then begins where the free that made it due has been reported, and nothing
    runs between. Left to lazy preemption it would begin, and stop, wherever a tick finds the CPU,
    also in the middle of an allocation, where no event shows it.
    """
    lines = ["realtime init"] if online_cpus == 1 else []
    for name, parameters in cases:
        if online_cpus == 1:
            lines.append("realtime kworker/")  # again, since workers come and go
        lines += [f"write {TRACEFS}/trace_marker {name}", f"load {parameters}"]
    return [
        *lines,
        "log",
        "write /proc/sys/kernel/kptr_restrict 1",  # 0 hides addresses in /proc/vmallocinfo
        f"write {TRACEFS}/tracing_on 0",
        "collect /proc/vmallocinfo",
        f"send {TRACEFS}/trace /dev/vport0p1",
    ]


class TracedTarget(QemuTarget):
    """Boots `request.cpus` possible CPUs, `online_cpus` of them running.

    The trace lies in the boot's folder as `trace`; loads are named by `cases`, in order.
    """

    def __init__(
        self,
        cases: Sequence[str],
        online_cpus: int,
        buffer_mib: int,
        cache: Path,
        runner: Runner,
        arch: Architecture = X86_64,
    ):
        """`buffer_mib`: ring buffer of one CPU; what does not fit is lost, and reported as lost."""
        spec = QemuSpec(kind="qemu", accelerator="tcg")
        super().__init__(spec, cache, runner, arch)
        self._cases, self._online_cpus, self._buffer_mib = tuple(cases), online_cpus, buffer_mib

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the lines that the guest's init carries out."""
        cases = list(zip(self._cases, request.loads, strict=True))
        return tracing_script(cases, self._online_cpus)

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine: a port for the trace, and the parameters that start tracing."""
        guest = super().guest(request)
        path = str(request.folder / TRACE).replace(",", ",,")
        port = ["-chardev", f"file,id=trace,path={path}"]
        port += ["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=trace"]
        parameters = tracing_parameters(self._online_cpus, self._buffer_mib)
        return replace(
            guest,
            boot_parameters=(*guest.boot_parameters, *parameters),
            extra=(*guest.extra, *port),
        )
