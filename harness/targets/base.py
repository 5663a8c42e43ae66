"""The interface of targets: boot a built kernel, load the module once, and report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.build.kernel import BuiltKernel
from harness.testmod.own import FRAGMENT
from harness.verdict import Verdict

Progress = Callable[[str], None]
"""Called with the name of each phase ("booting", "testing") when it begins."""


@dataclass(frozen=True)
class BootRequest:
    """A boot of a kernel with one or more loads of the module, of which the last is measured.

    `loads`: a string of module parameters for each load ("nr_threads=2 run_test_mask=7").
    `expected_s`: estimated seconds of all loads. `repeat`: number of equal boots before this one,
    for targets whose boots would otherwise be identical. `fragment`: parameters of the module that
    fragments memory before the first load, "" for none. `explain`: write an account of where the
    time went to the folder (see `harness.targets.explanation`).
    """

    kernel: BuiltKernel
    cpus: int
    loads: tuple[str, ...]
    memory_mib: int
    expected_s: float
    folder: Path  # for the logs and the command line of this boot; exists and is empty
    repeat: int = 0
    fragment: str = ""
    explain: bool = False

    @property
    def fragment_module(self) -> Path | None:
        """The module that fragments memory, None if this boot does not load it."""
        folder = self.kernel.own_modules
        return folder / f"{FRAGMENT}.ko" if self.fragment and folder else None


@dataclass(frozen=True)
class Judgement:
    """The target's verdict on a boot, which the contents of the log may make worse, and the log.

    `kernel_log`: the whole kernel log, with later lines of the console, None if it was not
    received. `load_ns`: duration of each finished load in ns of the guest's clock. `facts`: what
    the guest reported (cpus, clocksource, vmap_nodes, meminfo ...). `reached_init`: whether the
    kernel started our init.
    """

    verdict: Verdict
    reason: str
    kernel_log: str | None
    load_ns: tuple[int, ...]
    facts: Mapping[str, Any]
    reached_init: bool


@dataclass(frozen=True)
class BootResult(Judgement):
    """The raw result of a boot. `argv`: the command that booted it; `elapsed_s`: of the host."""

    console: Path
    argv: tuple[str, ...]
    elapsed_s: float


class Target(Protocol):
    """A machine that boots kernels: QEMU guest, simulated machine or lab host.

    A new kind is a module with a `make_target` function. `disturbed_by_host`: whether other
    programs on this host affect the measured times. `explain_fragments`: config fragments that a
    kernel needs for boots with `explain`; None if the target does not support them.
    """

    disturbed_by_host: bool

    @property
    def explain_fragments(self) -> tuple[str, ...] | None: ...

    def check_explaining(self) -> None:
        """Raise InfrastructureError where a boot cannot leave such an account now."""

    def side_by_side(self, memory_mib: int) -> int:
        """Return how many boots with `memory_mib` each may run at the same time, at least 1.

        If more than 1, `boot` is called from several threads, and `close` ends running boots.
        """

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return the commands that `boot` would run, for `--dry-run`. No side effects."""

    def check(self) -> None:
        """Raise ToolError or InputError if no boot can succeed. Called before the first boot."""

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot the kernel, load the module, collect the results, power off.

        Failures of the kernel are verdicts; only InfrastructureError is raised.
        """

    def machine(self) -> Mapping[str, Any]:
        """Return the facts to record with every boot (model, clock, accelerator ...)."""

    def close(self) -> None:
        """Release all resources. Idempotent."""
