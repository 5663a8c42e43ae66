"""The interface of targets: boot a built kernel, load the module once, and report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.build.kernel import BuiltKernel
from harness.testmod.own import FRAGMENT
from harness.verdict import Verdict

Progress = Callable[[str], None]
"""Takes a phase ("booting", "testing") as it begins."""


@dataclass(frozen=True)
class BootRequest:
    """One boot: the kernel, and the loads of the module, in order; the last one is measured.

    `loads`: one module parameter string each ("nr_threads=2 run_test_mask=7").
    `expected_s`: how long the loads take together, as far as anyone knows. `repeat`: how many boots
    like this one come before it, for targets whose boots would else be identical. `fragment`:
    parameters of the module that fragments memory before the first load, "" for none. `explain`:
    leave an account of where the time went in the folder, see `harness.targets.explanation`.
    """

    kernel: BuiltKernel
    cpus: int
    loads: tuple[str, ...]
    memory_mib: int
    expected_s: float
    folder: Path  # where logs and the command line of this boot go; exists and is empty
    repeat: int = 0
    fragment: str = ""
    explain: bool = False

    @property
    def fragment_module(self) -> Path | None:
        """The module that fragments memory, where this boot loads it."""
        folder = self.kernel.own_modules
        return folder / f"{FRAGMENT}.ko" if self.fragment and folder else None


@dataclass(frozen=True)
class Judgement:
    """Verdict and reason as far as the target can tell (the log may make it worse), and the log.

    `kernel_log` is the kernel's whole log, with what it still said on its console after that was
    collected, None when it never came; `load_ns` the wall time of each load call that ended, on the
    guest's clock, in ns; `facts` what the guest said of itself (cpus, clocksource, vmap_nodes,
    meminfo ...). `reached_init`: whether the kernel came as far as to run a program of ours.
    """

    verdict: Verdict
    reason: str
    kernel_log: str | None
    load_ns: tuple[int, ...]
    facts: Mapping[str, Any]
    reached_init: bool


@dataclass(frozen=True)
class BootResult(Judgement):
    """What one boot gave, before anything is made of its numbers. `argv`: the command behind it."""

    console: Path
    argv: tuple[str, ...]
    elapsed_s: float


class Target(Protocol):
    """A machine, real or not. A new one is one new module with a `make_target` function.

    `disturbed_by_host`: whether other work on this host falls into the times that are measured.
    `explain_fragments`: configuration that a kernel needs besides its own so that its boots can
    leave an account of where their time went; None where no boot can.
    """

    disturbed_by_host: bool

    @property
    def explain_fragments(self) -> tuple[str, ...] | None: ...

    def check_explaining(self) -> None:
        """Raise InfrastructureError where a boot cannot leave such an account now."""

    def side_by_side(self, memory_mib: int) -> int:
        """Return how many boots may be under way at once, each with so much memory. At least 1.

        Above 1, `boot` is called from several threads, and `close` ends boots under way.
        """

    def command_lines(self, request: BootRequest) -> list[tuple[str, ...]]:
        """Return what `boot` would execute, for `--dry-run`. No effects."""

    def check(self) -> None:
        """Raise ToolError or InputError where no boot could succeed. Before any boot."""

    def boot(self, request: BootRequest, progress: Progress) -> BootResult:
        """Boot, load, collect, power off. Raises InfrastructureError only."""

    def machine(self) -> Mapping[str, Any]:
        """Return the facts that are kept with every sample (model, clock, accelerator ...)."""

    def close(self) -> None:
        """Release whatever is held. Idempotent."""
