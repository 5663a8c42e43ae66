"""QEMU guests with a debug kernel: loads while allocations fail, or CPUs go offline and online.

What is set up here is a kernel interface each: Documentation/fault-injection/fault-injection.rst,
Documentation/dev-tools/kmemleak.rst and Documentation/core-api/cpu_hotplug.rst of the kernel.
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
_KTHREADD = "/proc/2/make-it-fail"  # the threads that it makes from then on inherit it
_FAIL_PERCENT = 3
_SLOWER = 8  # than a kernel without debugging, as a bound
# On an emulated CPU a debug kernel may take this long where nothing is wrong.
_WATCHDOGS = ("watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=240")


class Disturbance(StrEnum):
    """What happens beside the loads of a boot."""

    NONE = "none"
    FAILING_ALLOCATIONS = "failing allocations"
    HOTPLUG = "hotplug"


class Detector(StrEnum):
    """What is asked, or switched on, beside what reports by itself."""

    NONE = "none"
    LEAKS = "kmemleak"
    RACES = "KCSAN"


def detector_script(detector: Detector, lines: Sequence[str]) -> list[str]:
    """Return `lines` with those that use a detector around them.

    An object has to be five seconds old to be a leak. KCSAN is on for the loads only, so it has
    nothing to say of the boot.
    """
    scan = f"write {KMEMLEAK} scan"
    before, after = {
        Detector.NONE: ([], []),
        Detector.LEAKS: ([], ["sleep 6000", scan, "sleep 1000", scan, f"collect {KMEMLEAK}"]),
        Detector.RACES: ([f"write {KCSAN} on"], [f"collect {KCSAN}", f"write {KCSAN} off"]),
    }[detector]
    return [*before, *lines, *after]


def failing_script(loads: Sequence[str]) -> list[str]:
    """Return the lines that run `loads` while allocations of the workers fail now and then.

    Only threads made meanwhile are concerned: the test's workers, and kernel workers.
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
    """Return the lines that run `loads` while every other CPU goes and comes."""
    places = [f"/sys/devices/system/cpu/cpu{cpu}/online 0 1" for cpu in range(1, cpus, 2)]
    lines = [f"toggle {100 + 30 * number} {place}" for number, place in enumerate(places)]
    return [*lines, *(f"load {load}" for load in loads), "untoggle"]


class GatedTarget(QemuTarget):
    """Boots a debug kernel under TCG or KVM; `disturbance` is what its loads run beside."""

    def __init__(
        self,
        disturbance: Disturbance,
        detector: Detector,
        cache: Path,
        runner: Runner,
        arch: Architecture = X86_64,
    ):
        """`detector`: one that the kernel of the boots has."""
        super().__init__(QemuSpec(kind="qemu"), cache, runner, arch)
        self._disturbance, self._detector = disturbance, detector

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the lines that the guest's init carries out."""
        lines = [f"load {load}" for load in request.loads]
        if self._disturbance is Disturbance.FAILING_ALLOCATIONS:
            lines = failing_script(request.loads)
        elif self._disturbance is Disturbance.HOTPLUG:
            lines = hotplug_script(request.loads, request.cpus)
        return [*detector_script(self._detector, lines), "log"]

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine, whose watchdogs allow for debugging."""
        guest = super().guest(request)
        return replace(guest, boot_parameters=(*guest.boot_parameters, *_WATCHDOGS))

    def limits(self, request: BootRequest) -> BootLimits:
        """Return how long each phase may take: longer than without the kernel's own checks."""
        limits = super().limits(request)
        return replace(limits, boot_s=_SLOWER * limits.boot_s, grace_s=120.0)
