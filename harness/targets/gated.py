"""QEMU guests with a debug kernel: loads while allocations fail, or CPUs go offline and online.

The kernel interfaces are described in Documentation/fault-injection/fault-injection.rst,
Documentation/dev-tools/kmemleak.rst and Documentation/core-api/cpu_hotplug.rst.
"""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import Guest, QemuTarget
from harness.targets.watch import BootLimits

KMEMLEAK = "/sys/kernel/debug/kmemleak"
KCSAN = "/sys/kernel/debug/kcsan"
_INJECTORS = ("failslab", "fail_page_alloc")
_KTHREADD = "/proc/2/make-it-fail"  # inherited by the threads that it creates afterwards
_FAIL_PERCENT = 3
_SLOWER = 8  # upper bound of the slowdown by debugging
# A healthy debug kernel on an emulated CPU may exceed the default thresholds.
_WATCHDOGS = ("watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=240")


class Disturbance(StrEnum):
    """What happens during the loads of a boot."""

    NONE = "none"
    FAILING_ALLOCATIONS = "failing allocations"
    HOTPLUG = "hotplug"


class Detector(StrEnum):
    """A detector that has to be switched on or queried; the others report by themselves."""

    NONE = "none"
    LEAKS = "kmemleak"
    RACES = "KCSAN"


def detector_script(detector: Detector, lines: Sequence[str]) -> list[str]:
    """Return the script `lines` with those that use a detector before and after them.

    kmemleak reports objects that are at least five seconds old. KCSAN is on during the loads only,
    so that it does not report races of the boot.
    """
    scan = f"write {KMEMLEAK} scan"
    before, after = {
        Detector.NONE: ([], []),
        Detector.LEAKS: ([], ["sleep 6000", scan, "sleep 1000", scan, f"collect {KMEMLEAK}"]),
        Detector.RACES: ([f"write {KCSAN} on"], [f"collect {KCSAN}", f"write {KCSAN} off"]),
    }[detector]
    return [*before, *lines, *after]


def failing_script(loads: Sequence[str]) -> list[str]:
    """Return the script lines that run `loads` while `_FAIL_PERCENT` of the allocations fail.

    Only threads that are created meanwhile are affected: the test's workers, and kernel workers.
    """
    lines = []
    for name in _INJECTORS:
        place = f"write /sys/kernel/debug/{name}"
        lines += [f"{place}/task-filter Y", f"{place}/ignore-gfp-wait N", f"{place}/verbose 0"]
        lines += [f"{place}/times -1", f"{place}/probability {_FAIL_PERCENT}"]
    lines += ["write /sys/kernel/debug/fail_page_alloc/min-order 0", f"write {_KTHREADD} 1"]
    lines += [f"load {load}" for load in loads]
    lines += [f"write {_KTHREADD} 0"]
    return lines + [f"write /sys/kernel/debug/{name}/probability 0" for name in _INJECTORS]


def hotplug_script(loads: Sequence[str], cpus: int) -> list[str]:
    """Return the script lines that run `loads` while every other CPU goes offline and online."""
    places = [f"/sys/devices/system/cpu/cpu{cpu}/online 0 1" for cpu in range(1, cpus, 2)]
    lines = [f"toggle {100 + 30 * number} {place}" for number, place in enumerate(places)]
    return [*lines, *(f"load {load}" for load in loads), "untoggle"]


class GatedTarget(QemuTarget):
    """Boots a debug kernel under TCG or KVM, with a `Disturbance` during its loads."""

    def __init__(
        self,
        disturbance: Disturbance,
        detector: Detector,
        cache: Path,
        runner: Runner,
        arch: Architecture = X86_64,
    ):
        """`detector`: must be in the configuration of the kernels."""
        super().__init__(QemuSpec(kind="qemu"), cache, runner, arch)
        self._disturbance, self._detector = disturbance, detector

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the script of the guest's init."""
        lines = [f"load {load}" for load in request.loads]
        if self._disturbance is Disturbance.FAILING_ALLOCATIONS:
            lines = failing_script(request.loads)
        elif self._disturbance is Disturbance.HOTPLUG:
            lines = hotplug_script(request.loads, request.cpus)
        return [*detector_script(self._detector, lines), "log"]

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine, with higher watchdog thresholds."""
        guest = super().guest(request)
        return replace(guest, boot_parameters=(*guest.boot_parameters, *_WATCHDOGS))

    def limits(self, request: BootRequest) -> BootLimits:
        """Return the time limits, longer than those of kernels without debugging."""
        limits = super().limits(request)
        return replace(limits, boot_s=_SLOWER * limits.boot_s, grace_s=120.0)
