"""Checks that a kernel is correct, by booting it with the kernel's own debugging.

    rows = run_gate(spec, CHECKS, folder, cache, runner, tell, build_progress)

Times are not measured. Each check is one boot that runs every case of the module with few loops,
with some debugging and some disturbance. Checks share kernels if they can.
"""

import functools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import Cache
from harness.build.functions import functions_of
from harness.build.kernel import BuildProgress, BuiltKernel, ensure_kernel
from harness.build.stack import functions_in
from harness.errors import InfrastructureError, KernelBuildError
from harness.process import Runner
from harness.run.judge import read_console
from harness.run.validate import run_traced, validate_folder
from harness.spec.kernel import KernelSpec
from harness.targets.base import BootRequest, BootResult
from harness.targets.gated import KCSAN, KMEMLEAK, Detector, Disturbance, GatedTarget
from harness.testmod.cases import BY_SHORT_NAME, CASES
from harness.testmod.catalogue import Severity
from harness.testmod.log import missing_lines, parse_log, unexpected_failures
from harness.testmod.modinfo import ModuleInfo, parse_modinfo
from harness.testmod.verdicts import Finding, scan_console, verdict_of
from harness.testmod.workload import Value, Workload, check_workload
from harness.verdict import Verdict, worst

CPUS = 3
_MEMORY_MIB = 2048
_EXPECTED_S = 240.0  # of the loads of a boot, on emulated CPUs
_TRACED_LOOPS = 4000
_TRACEPOINT = " __tracepoint_alloc_vmap_area"


@dataclass(frozen=True)
class Check:
    """One boot of the gate. `what` it looks for; `fragments`: added to the kernel's.

    `loads`: parameters of the module, one set per load; the default mask is every case except those
    of `_MANY`.
    `excused`: findings that only report a failed allocation. `excused_warnings`: functions whose
    warnings do.
    """

    name: str
    what: str
    fragments: tuple[str, ...]
    loads: tuple[Mapping[str, Value], ...] = ()
    disturbance: Disturbance = Disturbance.NONE
    detector: Detector = Detector.NONE
    excused: frozenset[str] = frozenset()
    excused_warnings: frozenset[str] = frozenset()


_MEMORY = ("fragments/gate-memory.config",)
_RACES = ("fragments/gate-races.config",)
_TRACED = ("fragments/traced.config", "fragments/linear-stacks.config")
# These hold tens of thousands of areas, regardless of the loops: one worker.
_PCPU = BY_SHORT_NAME["pcpu"].mask
_CROWDED = BY_SHORT_NAME["full_fit"].mask | BY_SHORT_NAME["long_busy_list"].mask | _PCPU
_MANY: Mapping[str, Value] = {"nr_threads": 1, "test_loop_count": 20, "run_test_mask": _CROWDED}
_FEW: Mapping[str, Value] = {"nr_threads": 4, "test_loop_count": 20}
_LARGE: Mapping[str, Value] = {
    "nr_threads": 4,
    "test_loop_count": 50,
    "run_test_mask": 1,
    "nr_pages": 40,
}
_FAILURES = frozenset(
    {
        "vmalloc error",
        "vmalloc allocation failure",
        "vmalloc range exhausted",
        "vmap address space exhausted",
        "page allocation failure",
        "slab allocation failed",
        "per-CPU allocation failed",
    }
)

CHECKS = (
    Check(
        "memory",
        "wrong accesses, locking, sleeping where it must not, leaks",
        _MEMORY,
        (_FEW, _MANY, _LARGE),
        detector=Detector.LEAKS,
    ),
    Check(
        "failures",
        "the same while allocations fail",
        _MEMORY,
        (
            {**_FEW, "test_repeat_count": 20},
            {**_MANY, "run_test_mask": _PCPU},
            {**_LARGE, "test_repeat_count": 40},
        ),
        Disturbance.FAILING_ALLOCATIONS,
        detector=Detector.LEAKS,
        excused=_FAILURES,
        # The split of a free area, for which an object should have been preloaded.
        excused_warnings=frozenset({"alloc_vmap_area", "__alloc_vmap_area", "va_alloc"}),
    ),
    Check(
        "hotplug",
        "the same while CPUs go offline and online",
        _MEMORY,
        ({**_FEW, "test_loop_count": 200}, {**_LARGE, "test_loop_count": 200}),
        Disturbance.HOTPLUG,
        detector=Detector.LEAKS,
    ),
    Check("races", "data races", _RACES, (_FEW, _MANY, _LARGE), detector=Detector.RACES),
    Check("model", "addresses other than the model's", _TRACED),
)
BY_CHECK = {check.name: check for check in CHECKS}


# These concern the functions that they name. All other reports may be effects of a wrong access by
# vmalloc, so they count wherever they occur.
_OF_ITS_PLACE = frozenset({"warning", "KCSAN: data race"})
_WARNED = re.compile(r"WARNING: [^\n]{1,80} at \S{1,80} (\w+)\+0x")


@dataclass(frozen=True)
class GateRow:
    """The result of one check. `findings`: what the kernel reported; `folder`: logs of the boot.

    `elsewhere`: reports on code other than vmalloc's, which are ignored.
    """

    check: Check
    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]
    folder: Path
    elsewhere: tuple[Finding, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the check passed, or was skipped as not applicable."""
        return not self.verdict.bad


Tell = Callable[[str], None]
"""Receives a line of progress."""


def run_gate(
    spec: KernelSpec,
    checks: Sequence[Check],
    folder: Path,
    cache: Path,
    runner: Runner,
    tell: Tell,
    build_progress: Callable[[BuildProgress], None],
) -> list[GateRow]:
    """Build the kernels of `checks` from `spec`, boot each check, and return a row for each.

    Raises InputError for errors of the kernel file, InfrastructureError for those of the machine.
    """

    @functools.cache
    def kernel_with(fragments: tuple[str, ...]) -> BuiltKernel | KernelBuildError:
        changed = spec.model_copy(update={"fragments": (*spec.fragments, *fragments)})
        try:
            return ensure_kernel(changed, Cache(cache), runner, build_progress)
        except KernelBuildError as error:
            return error

    rows = []
    for check in checks:
        place = folder / check.name
        place.mkdir(parents=True)
        kernel = kernel_with(check.fragments)
        if isinstance(kernel, KernelBuildError):
            rows.append(GateRow(check, Verdict.BUILD_FAILED, str(kernel), (), place))
            continue
        carry_out = _boot_check if check.loads else _trace_check
        rows.append(carry_out(check, kernel, place, cache, runner, tell))
        verdict = rows[-1].verdict
        tell(f"{check.name}: {verdict}")
    return rows


def _boot_check(
    check: Check, kernel: BuiltKernel, folder: Path, cache: Path, runner: Runner, tell: Tell
) -> GateRow:
    module = parse_modinfo(kernel.module.read_bytes())
    left_out = sum(case.mask for case in CASES if not case.checks_failure)
    left_out *= check.disturbance is Disturbance.FAILING_ALLOCATIONS
    loads = [_workload(load, module, left_out) for load in check.loads]
    page_size = kernel.page_size
    target = GatedTarget(check.disturbance, check.detector, cache, runner, kernel.spec.arch)
    target.check()
    request = BootRequest(
        kernel=kernel,
        cpus=CPUS,
        loads=tuple(load.render_parameters() for load in loads),
        memory_mib=max(_MEMORY_MIB, *(2 * load.memory_mib(CPUS, page_size) for load in loads)),
        expected_s=_EXPECTED_S,
        folder=folder,
    )
    result = target.boot(request, lambda phase: tell(f"{check.name}: {phase}"))
    ours = functions_of(kernel.vmlinux, "vmalloc.c") | functions_of(kernel.module, "test_vmalloc.c")
    return judge_check(check, result, loads, folder, ours)


def _workload(parameters: Mapping[str, Value], module: ModuleInfo, left_out: int) -> Workload:
    """Return a load with those parameters that `module` has, in shuffled order.

    `left_out`: mask of cases to leave out.
    """
    few = sum(module.cases.values()) & ~_CROWDED & ~left_out
    every: dict[str, Value] = {"run_test_mask": few, "sequential_test_order": False}
    asked = {**every, **parameters}
    return check_workload({k: v for k, v in asked.items() if k in module.parameters}, module)


def _is_excused(finding: Finding, check: Check) -> bool:
    warned = finding.name == "warning" and _WARNED.search(finding.excerpt)
    return finding.name in check.excused or bool(warned and warned[1] in check.excused_warnings)


def is_elsewhere(finding: Finding, ours: Collection[str]) -> bool:
    """Return whether a report only concerns functions other than `ours`."""
    entries = functions_in(finding.excerpt)
    return finding.name in _OF_ITS_PLACE and bool(entries) and entries.isdisjoint(ours)


def judge_check(
    check: Check,
    result: BootResult,
    loads: Sequence[Workload],
    folder: Path,
    ours: Collection[str],
) -> GateRow:
    """Return the result of a check from its boot: the kernel's reports first, then what is missing.

    A check whose condition did not occur (no allocation failed, no CPU went offline) never passes.
    `ours`: names of the functions of vmalloc and of its test.
    """
    log = result.kernel_log or read_console(result.console)
    files = result.facts.get("files", {})
    found = [*scan_console(log), *scan_console(files.get(KMEMLEAK, ""))]
    reports = [
        finding
        for finding in found
        if finding.severity is not Severity.NOTE and not _is_excused(finding, check)
    ]
    elsewhere = tuple(finding for finding in reports if is_elsewhere(finding, ours))
    findings = tuple(finding for finding in reports if finding not in elsewhere)

    def row(verdict: Verdict, reason: str) -> GateRow:
        return GateRow(check, verdict, reason, findings, folder, elsewhere)

    if findings:
        names = ", ".join(dict.fromkeys(finding.name for finding in findings))
        return row(worst([verdict_of(findings), result.verdict]), f"reported: {names}")
    if result.verdict is not Verdict.PASSED:
        return row(result.verdict, result.reason)
    if errors := result.facts.get("errors"):
        return row(Verdict.INCOMPLETE, f"the check could not be set up: {errors[0]}")
    watched = re.search(r"^setup_watchpoints: (\d+)", files.get(KCSAN, ""), re.MULTILINE)
    if check.detector is Detector.RACES and (watched is None or not int(watched[1])):
        return row(Verdict.INCOMPLETE, "KCSAN watched nothing")
    runs = parse_log(log)
    if len(runs) < len(loads):
        return row(Verdict.INCOMPLETE, f"{len(runs)} of {len(loads)} loads are in the kernel log")
    if check.disturbance is Disturbance.FAILING_ALLOCATIONS:
        if not any(unexpected_failures(run.summaries) for run in runs):
            return row(Verdict.INCOMPLETE, "no allocation failed, so no failure path was tried")
        return row(Verdict.PASSED, "")
    for run, load in zip(runs, loads, strict=False):
        if missing := missing_lines(run, load.nr_threads, load.cases):
            return row(Verdict.INCOMPLETE, "; ".join(missing[:3]))
        if failures := unexpected_failures(run.summaries):
            return row(Verdict.TEST_FAILED, "; ".join(failures[:3]))
    if check.disturbance is Disturbance.HOTPLUG:
        went = {item["path"]: int(item["written"]) for item in result.facts.get("toggled", [])}
        still = [path for path, written in went.items() if written < 2]
        if still or not went:
            return row(Verdict.INCOMPLETE, f"never went offline: {', '.join(still) or 'any'}")
    return row(Verdict.PASSED, "")


def _trace_check(
    check: Check, kernel: BuiltKernel, folder: Path, cache: Path, runner: Runner, tell: Tell
) -> GateRow:
    if _TRACEPOINT not in kernel.system_map.read_text(encoding="ascii"):
        why = "the kernel has no vmap tracepoints (they came with 6.2)"
        return GateRow(check, Verdict.SKIPPED, why, (), folder)
    try:
        run_traced(
            kernel, CPUS, 1, _TRACED_LOOPS, folder, cache, runner,
            lambda phase: tell(f"{check.name}: {phase}"),
        )  # fmt: skip
        result = validate_folder(folder)
    except InfrastructureError as error:
        return GateRow(check, Verdict.INCOMPLETE, str(error), (), folder)
    if result.passed:
        return GateRow(check, Verdict.PASSED, f"{result.events:,} events", (), folder)
    named = [each.name for each in result.explanations if each.complete]
    reason = "; ".join([result.faults[0], *named[:1]])
    return GateRow(check, Verdict.TEST_FAILED, reason, (), folder)


def only(names: Sequence[str]) -> tuple[Check, ...]:
    """Return the checks of these names, in the gate's order; all if none is named."""
    return tuple(check for check in CHECKS if not names or check.name in names)
