"""Profiles locks on one CPU, for the prediction of many CPUs."""

from collections.abc import Iterator
from pathlib import Path

from harness.build.kernel import BuiltKernel
from harness.errors import InfrastructureError
from harness.model.calibration import (
    Calibration,
    CaseProfile,
    parse_lock_profile,
    profile_of_part,
)
from harness.process import Runner
from harness.targets.base import BootRequest, Progress
from harness.targets.lockprofile import PROFILE, LockProfileTarget
from harness.testmod.cases import CASES
from harness.verdict import Verdict

POSSIBLE_CPUS = 64
CALIBRATED = tuple(case for case in CASES if case.calibration_loops)
_WARM_UP = (1, 12_000)  # pools fill at the first purge
_SETTINGS = {"1": "vmap_nodes=1", "many": "vmap_nodes=128"}


def calibrate(
    kernel: BuiltKernel, folder: Path, cache: Path, runner: Runner, progress: Progress
) -> Calibration:
    """Boot `kernel` with one node and with many, each once, and return the profiles of all cases.

    `folder` exists and is empty. Raises InfrastructureError if a boot gives no complete profile.
    """
    cases: dict[str, dict[str, CaseProfile]] = {case.short: {} for case in CALIBRATED}
    symbols = kernel.system_map.read_text(encoding="ascii", errors="replace")
    for setting, parameter in _SETTINGS.items():
        place = folder / f"nodes-{setting}"
        place.mkdir()
        text = _boot(kernel, parameter, place, cache, runner, progress)
        for name, profile in profiles_of(text, symbols):
            cases[name][setting] = profile
    name = kernel.spec.name
    return Calibration(name, f"vmapbench calibrate {name}", POSSIBLE_CPUS, cases)


def profiles_of(text: str, symbols: str) -> Iterator[tuple[str, CaseProfile]]:
    """Yield name and profile of each case. Raises InfrastructureError if one is missing. Pure."""
    parts = list(parse_lock_profile(text, symbols))
    # A mark before and after each load; what lies between two loads is a part as well.
    measured = parts[3::2]
    if len(measured) < len(CALIBRATED):
        raise InfrastructureError(
            f"the lock profile has {len(measured)} of {len(CALIBRATED)} cases; "
            "the kernel must have all of test_vmalloc's first six"
        )
    for case, part in zip(CALIBRATED, measured, strict=False):
        yield case.short, profile_of_part(part, case.calibration_loops)


def _boot(
    kernel: BuiltKernel,
    parameter: str,
    folder: Path,
    cache: Path,
    runner: Runner,
    progress: Progress,
) -> str:
    loads = [_load(*_WARM_UP), *(_load(case.mask, case.calibration_loops) for case in CALIBRATED)]
    target = LockProfileTarget([parameter], cache, runner)
    target.check()
    request = BootRequest(
        kernel=kernel,
        cpus=POSSIBLE_CPUS,
        loads=tuple(loads),
        memory_mib=1024,
        expected_s=120.0,
        folder=folder,
    )
    result = target.boot(request, lambda phase: progress(f"{parameter}: {phase}"))
    if result.verdict is not Verdict.PASSED:
        raise InfrastructureError(
            f"profiling {kernel.spec.name} with {parameter}: {result.verdict}: {result.reason}\n"
            f"  console: {result.console}"
        )
    return (folder / PROFILE).read_text(encoding="ascii")


def _load(mask: int, loops: int) -> str:
    return f"nr_threads=1 run_test_mask={mask} test_loop_count={loops} sequential_test_order=1"
