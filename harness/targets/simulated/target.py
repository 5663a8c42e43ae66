"""Boots kernels on a simulated many-core machine: QEMU's TCG in virtual time.

The guest runs under the simulator (plugin/) from power-on to power-off, so that its clock, its
interrupts and the order of its memory accesses follow the machine model and not the host.
"""

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, UnsupportedError
from harness.guest.initramfs import (
    ensure_init,
    measuring_script,
)
from harness.process import Children, Runner
from harness.spec.architecture import X86_64, Architecture
from harness.targets.accelerator import qemu_version
from harness.targets.base import BootRequest, BootResult, Progress
from harness.targets.explanation import FILE, write_explanation
from harness.targets.qemu.target import (
    Guest,
    boot_guest,
    common_parameters,
    qemu_argv,
    write_initramfs,
)
from harness.targets.simulated.core import one_core
from harness.targets.simulated.explain import explain_boot, lock_functions
from harness.targets.simulated.machine import (
    MachineModel,
    load_machine,
    plugin_options,
    ticks_of_ns,
)
from harness.targets.simulated.plugin import OLDEST_QEMU, ensure_plugin
from harness.targets.simulated.profile import profile_of_boot
from harness.targets.simulated.sampling import Sampling, WindowWatch, find_sites, judge_of
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.watch import BootLimits

# A Zen 2, as far as TCG supports it. Without TSC the kernel uses the HPET, which follows virtual
# time; without RDRAND the simulator controls every source of randomness.
CPU_MODEL = "EPYC-Rome,-hypervisor,-tsc,-rdrand,-rdseed,+x2apic"
BOOT = (
    *("tsc=unstable", "clocksource=hpet", "nokaslr"),
    # The timer check at boot counts loops that depend on the host; the timer is known to work.
    "no_timer_check",
    # Calibrating the delay loop takes each CPU 4 to 24 ticks, half of the boot. This is the result
    # at 3.7 GHz and 250 Hz; only delays depend on it.
    "lpj=7400000",
)
# A code buffer that does not fill up: flushing it would stop all vCPUs at a host-dependent time.
ACCELERATOR = "tcg,thread=multi,tb-size=1024"
FIXED_EXTRAS = (
    # The firmware searches these devices for disks and keys, half of the time before Linux starts.
    *("-machine", "sata=off,i8042=off"),
    *("-seed", "1", "-rtc", "base=2026-01-01,clock=vm"),
    *("-global", "apic.vapic=off"),  # an option ROM that would make vCPUs wait for each other
)
MOST_CPUS = 512  # MAX_VCPUS in sim.h
MOST_XAPIC_CPUS = 255  # limit of 8-bit APIC ids; x2APIC needs interrupt remapping
X2APIC_EXTRAS = ("-device", "intel-iommu,intremap=on,eim=on")
NEEDED_CONFIG = {"CONFIG_HPET_TIMER": "y", "CONFIG_SMP": "y"}


@dataclass(frozen=True)
class SimulationOptions:
    """Settings of the simulation besides the machine model, for ablations and repeats."""

    seed: int = 0  # of the perturbation; 0: none
    switches: tuple[tuple[str, int], ...] = ()  # ablations: see set_number() in model.c
    window_ms: float = 0  # virtual time between two entries of windows.txt; 0: no such file
    counted: tuple[int, ...] = ()  # addresses of instructions that windows.txt counts
    hypervisor: bool = False  # set the CPUs' hypervisor bit; kernels may then lock differently
    sampling: Sampling | None = None  # windows of detail; the rest runs fast


class SimulatedTarget:
    """A simulated machine. Its times are virtual, and boots with equal options are identical."""

    disturbed_by_host = False
    explain_fragments: tuple[str, ...] | None = ()  # the plugin sees everything

    def __init__(
        self,
        spec: SimulatedSpec,
        cache: Path,
        runner: Runner,
        machine: MachineModel | None = None,
        simulation: SimulationOptions | None = None,
    ):
        """`machine` and `simulation` override `spec`, for ablations and tests."""
        self._spec, self._cache, self._runner = spec, cache, runner
        self._machine = machine or load_machine(spec.machine)
        self._simulation = simulation or SimulationOptions()
        self._children = Children(runner)

    def check(self) -> None:
        """Raise UnsupportedError if QEMU is too old, ToolError if a tool is missing."""
        version = qemu_version(self._runner)
        if version < OLDEST_QEMU:
            raise UnsupportedError(
                f"the simulated machine needs the plugin API of QEMU {_dotted(OLDEST_QEMU)} or "
                f"newer, found {_dotted(version)}; Debian 12 has one in bookworm-backports"
            )
        ensure_init(self._cache, self._runner)
        ensure_plugin(self._cache, self._runner)

    def check_explaining(self) -> None:
        """Nothing: the plugin is part of every boot."""

    def side_by_side(self, memory_mib: int) -> int:
        """Return how many simulations fit on this host's cores and in half of its memory.

        They do not affect each other's virtual times.
        """
        host_mib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
        return max(1, min(len(os.sched_getaffinity(0)), host_mib // 2 // memory_mib))

    def machine(self) -> Mapping[str, Any]:
        """Return the facts to record with every boot."""
        return {
            "kind": "simulated",
            "qemu": _dotted(qemu_version(self._runner)),
            "accelerator": "tcg",
            "clock": f"virtual time, model {self._machine.name}",
            "model": self._machine.model_dump(mode="json", exclude={"sources"}),
            "switches": dict(self._simulation.switches),
        }

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return the QEMU command of `request`. No side effects."""
        plugin = self._cache / "simulated" / "simulated.so"
        return [tuple(self._argv(request, request.folder / "qmp", plugin))]

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot the kernel, load the module, collect the results, power off.

        Also writes profile.json to the folder. Raises InfrastructureError only.
        """
        check_kernel(request)
        plugin = ensure_plugin(self._cache, self._runner)
        nonce = self._prepare(request, plugin)
        with one_core(self._cache / "simulated" / "cores") as core:
            result = boot_guest(
                lambda monitor: ["taskset", "-c", str(core), *self._argv(request, monitor, plugin)],
                request,
                nonce,
                self.limits(request),
                self._children,
                progress,
                {"LD_PRELOAD": str(plugin)},
                self._enough(request),
            )
        self._write_profile(request)
        return result

    def _enough(self, request: BootRequest) -> Callable[[], bool]:
        """Return what tells whether the windows of the boot are steady."""
        sampling = self._simulation.sampling
        if sampling is None:
            return lambda: False
        judge = judge_of(request)
        return WindowWatch(request.folder, judge, sampling.error, sampling.within_s).enough

    def close(self) -> None:
        """End all running boots."""
        self._children.end()

    def _prepare(self, request: BootRequest, plugin: Path) -> str:
        """Write the initramfs and the command; return the nonce of the boot."""
        lines = self.script(request)
        nonce = write_initramfs(request, lines, self._cache, self._runner, X86_64)
        command = shlex.join(self._argv(request, request.folder / "qmp", plugin))
        text = f"LD_PRELOAD={shlex.quote(str(plugin))} {command}\n"
        (request.folder / "command.txt").write_text(text, encoding="utf-8")
        return nonce

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the script of the guest's init."""
        return marked_script(request.loads, request.fragment)

    def limits(self, request: BootRequest) -> BootLimits:
        """Return the time limits of each phase, in host time, as is `request.expected_s`.

        They are generous, as a delay by a busy host does not affect virtual times.
        """
        return BootLimits(boot_s=300.0 + 10.0 * request.cpus, test_s=request.expected_s)

    def _write_profile(self, request: BootRequest) -> None:
        profile = profile_of_boot(request.folder, _marks(request) - 1, request.kernel.system_map)
        if profile is not None:
            text = json.dumps({"machine": self._machine.name, **profile}, indent=2)
            (request.folder / "profile.json").write_text(text + "\n", encoding="utf-8")
        if request.explain:
            system_map, part = request.kernel.system_map, _marks(request) - 1
            if found := explain_boot(request.folder, part, system_map, self._machine):
                write_explanation(request.folder / FILE, found)

    def _cpu_model(self) -> str:
        seen = "+hypervisor" if self._simulation.hypervisor else "-hypervisor"
        return CPU_MODEL.replace("-hypervisor", seen)

    def _argv(self, request: BootRequest, monitor: Path, plugin: Path) -> list[str]:
        options = {
            **plugin_options(self._machine),
            # Each repeat is perturbed with its own seed, except the first boot.
            "seed": self._simulation.seed + request.repeat,
            "marks": _marks(request) + 1,  # QEMU's exit writes the last part
            "window": ticks_of_ns(self._simulation.window_ms * 1e6, self._machine),
            **dict(self._simulation.switches),
        }
        counted = [("count", f"{address:x}") for address in self._simulation.counted]
        if self._simulation.sampling:
            options |= sampling_options(self._simulation.sampling, self._machine)
            counted += [
                ("prepare" if site.part == "prepare" else "site", f"{site.offset:x}")
                for site in find_sites(request.kernel.module.read_bytes())
            ]
        if request.explain:
            counted += [("lock", f"{a:x}") for a in lock_functions(request.kernel.system_map)]
        text = ",".join(f"{name}={value}" for name, value in [*options.items(), *counted])
        folder = str(request.folder).replace(",", ",,")
        guest = Guest(
            cpus=request.cpus,
            memory_mib=request.memory_mib,
            image=request.kernel.image,
            initramfs=request.folder / "initramfs",
            boot_parameters=(
                *(*common_parameters(X86_64), *BOOT),
                *(*self._spec.boot_parameters, *request.kernel.spec.boot_parameters),
            ),
            accelerator=ACCELERATOR,
            cpu_model=self._cpu_model(),
            extra=(
                *FIXED_EXTRAS,
                *(X2APIC_EXTRAS if request.cpus > MOST_XAPIC_CPUS else ()),
                # Guests with many workers have more memory than the host; most is never touched.
                *("-object", f"memory-backend-ram,id=ram,size={request.memory_mib}M,reserve=off"),
                *("-machine", "memory-backend=ram"),
                *("-plugin", f"file={plugin},{text},out={folder}"),
            ),
        )
        argv = qemu_argv(guest, request.folder / "console.log", request.folder / "report", monitor)
        # Without address randomisation QEMU translates the same code to the same blocks; vCPUs are
        # switched at the end of a block, so this makes boots repeatable.
        return ["setarch", "--addr-no-randomize", *argv]


def sampling_options(sampling: Sampling, machine: MachineModel) -> dict[str, int]:
    """Return the lengths of windows and gaps as the plugin's options."""
    return {
        "window": ticks_of_ns(sampling.window_ms * 1e6, machine),
        "warm": ticks_of_ns(sampling.warm_ms * 1e6, machine),
        "gap": sampling.gap,
        "prepare_gap": sampling.prepare_gap,
    }


def _marks(request: BootRequest) -> int:
    return 2 * len(request.loads)  # before and after each load


def marked_script(loads: Sequence[str], fragment: str = "") -> list[str]:
    """Return the script of init, with a mark for the simulator before and after each load."""
    lines: list[str] = []
    # Without lazily freed areas: listing them one by one takes long in virtual time.
    for line in measuring_script(loads, lazily_freed=False, fragment=fragment):
        lines += ["mark", line, "mark"] if line.startswith("load ") else [line]
    return lines


def check_kernel(request: BootRequest) -> None:
    """Raise InputError if the kernel lacks a needed option or the boot has too many CPUs."""
    if request.cpus > MOST_CPUS:
        raise InputError(
            f"the simulated machine: found {request.cpus} CPUs, expected at most {MOST_CPUS}"
        )
    lines = set(request.kernel.config.read_text(encoding="utf-8").splitlines())
    needed = dict(NEEDED_CONFIG)
    if request.cpus > MOST_XAPIC_CPUS:
        needed |= {"CONFIG_X86_X2APIC": "y", "CONFIG_IRQ_REMAP": "y"}
    missing = [f"{k}={v}" for k, v in needed.items() if f"{k}={v}" not in lines]
    if missing:
        raise InputError(
            f"kernel {request.kernel.spec.name}: {request.cpus} simulated CPUs need "
            f"{', '.join(missing)} in its configuration ({request.kernel.config})"
        )


def make_target(
    spec: SimulatedSpec, cache: Path, runner: Runner, arch: Architecture
) -> SimulatedTarget:
    """Return the target of a playbook with `kind: simulated`.

    Raises InputError for an architecture other than x86_64.
    """
    if arch is not X86_64:
        raise InputError(
            f"the simulated machine runs {X86_64.name} kernels only, found {arch.name}\n"
            "  next: use  kind: qemu  in the playbook's target; see docs/explanation/simulated.md"
        )
    return SimulatedTarget(spec, cache, runner)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
