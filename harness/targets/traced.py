"""QEMU guests that trace all vmalloc events, from the kernel's first allocation on."""

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

    `maxcpus`: more CPUs are possible, so that the kernel creates vmap nodes for them, but offline.
    `trace_clock`: otherwise Linux 6.1 may find its clock unstable during boot and switch to
    another, which clears the buffer; `global` orders the events of several CPUs.
    `no_hash_pointers`: shows addresses of per-CPU chunks and in /proc/vmallocinfo.
    """
    return (
        f"maxcpus={online_cpus}",
        f"trace_event={','.join(BOOT_EVENTS)}",
        f"trace_buf_size={buffer_mib}M",
        f"trace_clock={'local' if online_cpus == 1 else 'global'}",
        "no_hash_pointers",
    )


def tracing_script(cases: Sequence[tuple[str, str]], online_cpus: int = 1) -> list[str]:
    """Return the script that marks and loads each case, then sends the trace.

    `cases`: (name, module parameters) pairs. On one CPU the kernel workers that purge and init,
    which purges when it loads and unloads, become real-time tasks: a purge then starts right after
    the event of the free that triggered it, and nothing interrupts it. With lazy preemption it
    would start and stop at any timer tick, also within an allocation, which no event shows.
    """
    lines = ["realtime init"] if online_cpus == 1 else []
    for name, parameters in cases:
        if online_cpus == 1:
            lines.append("realtime kworker/")  # again, as workers are created and end
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
    """Boots with `request.cpus` possible CPUs, `online_cpus` of them online.

    Writes the trace to `TRACE`; `cases`: the names of the loads, in order.
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
        """`buffer_mib`: size of the ring buffer of each CPU; lost events are reported as such."""
        spec = QemuSpec(kind="qemu", accelerator="tcg")
        super().__init__(spec, cache, runner, arch)
        self._cases, self._online_cpus, self._buffer_mib = tuple(cases), online_cpus, buffer_mib

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the script of the guest's init."""
        cases = list(zip(self._cases, request.loads, strict=True))
        return tracing_script(cases, self._online_cpus)

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine, with a port for the trace and the parameters of tracing."""
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
