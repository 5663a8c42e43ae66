"""Compares a kernel with the model: boots it traced, replays the trace, names differences."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.build.cache import Cache
from harness.build.kernel import BuiltKernel, ensure_kernel
from harness.errors import InfrastructureError, InputError
from harness.model.allocator import Allocator, Rules
from harness.model.divergence import describe_divergence, render_event
from harness.model.invariants import check_allocator
from harness.model.node_rules import NodeRules
from harness.model.replay import Replay, ReplayResult
from harness.model.suspects import Explanation, explain
from harness.model.trace import (
    TRACEPOINTS,
    Allocated,
    Event,
    Trace,
    parse_trace,
    parse_vmallocinfo,
)
from harness.process import Runner
from harness.spec.architecture import PAGE_SIZE
from harness.spec.kernel import load_kernel_spec
from harness.targets.base import BootRequest, Progress
from harness.targets.traced import TRACE, TracedTarget
from harness.testmod.cases import BY_SHORT_NAME, LoadSize, lazy_max_pages
from harness.testmod.workload import room_mib
from harness.verdict import Verdict

FORMAT = 1  # of facts.json
# A pair of events takes about 130 bytes of the ring buffer.
_BUFFER_MIB = 128
_MEMORY_MIB = 1024


@dataclass(frozen=True)
class TracedLoad:
    """A load of the module with one case. `loops`: factor of the requested loops."""

    case: str  # as the model names it
    loops: float
    nr_pages: int = 0

    @property
    def name(self) -> str:
        """The name in reports."""
        return f"{self.case}_{self.nr_pages}_pages" if self.nr_pages else self.case

    def load(self, loops: int, threads: int) -> str:
        """Return the module's parameters."""
        count = max(1, int(self.loops * loops))
        mask = BY_SHORT_NAME[self.case].mask
        fixed = f"run_test_mask={mask} nr_threads={threads} test_loop_count={count}"
        return f"{fixed} sequential_test_order=1 nr_pages={self.nr_pages}"


# Each case gives about as many events. Areas of 256 and 257 pages (with their guard page) are just
# below and above the size of the largest pool.
LOADS = (
    TracedLoad("fix_size", 1.0),
    TracedLoad("fix_size", 0.01, nr_pages=255),
    TracedLoad("fix_size", 0.01, nr_pages=256),
    TracedLoad("random_size", 1.0),
    TracedLoad("random_size_align", 1.0),
    TracedLoad("long_busy_list", 0.5),
    TracedLoad("full_fit", 0.75),
)


@dataclass(frozen=True)
class Validation:
    """The result of one trace. `faults` is empty if the kernel conforms to the design.

    `mode`: `exact` (one CPU: every address predicted) or `rules` (several CPUs).
    `cases`: by name, (allocations, allocations whose address was predicted).
    """

    kernel: str
    mode: str
    nodes: int
    cpus: int
    events: int
    cases: Mapping[str, tuple[int, int]]
    faults: list[str]
    explanations: list[Explanation]
    folder: str

    @property
    def passed(self) -> bool:
        """Whether the kernel conforms to the model."""
        return not self.faults


def rules_of(
    symbols: str,
    features: Mapping[str, str],
    vmap_nodes: int | None,
    possible_cpus: int,
    online_cpus: int,
    page_size: int = PAGE_SIZE,
) -> Rules:
    """Return the rules of a kernel, from its features, not its version. Pure.

    `symbols`: its System.map. `features`: those of its source. `vmap_nodes`: the number that it
    reported, if any. `page_size`: in bytes. Raises InputError if no rule describes the decay of its
    pools, or a part of the design has another name.
    """
    has_nodes = _has_nodes(symbols, features)
    decays = features.get("small_pools", "all")
    if decays not in ("all", "none"):
        raise InputError(
            "mm/vmalloc.c: decay_va_pool_node has a form that the model does not know, so no "
            "address could be predicted\n  next: add the form to harness/build/features.py"
        )
    default = min(possible_cpus, 128) if has_nodes else 1  # vmap_init_nodes()
    merges = "reclaim_vmap_area" in symbols  # our tracepoint, on kernels whose lazy areas merge
    nodes = vmap_nodes or default
    return Rules(
        nodes=nodes,
        lazy_max_pages=lazy_max_pages(online_cpus, page_size),
        page_size=page_size,
        spares_small_pools=decays == "none",
        merge_lazy=merges,
    )


_DESIGN = ("nr_vmap_nodes", "purge_vmap_node", "drain_vmap_area_work")


def _has_nodes(symbols: str, features: Mapping[str, str]) -> bool:
    """Return whether a kernel has vmap nodes.

    Raises InputError if it has a part of them only: the rest must have another name, and without it
    the model would report defects that do not exist.
    """
    found = {name: bool(re.search(rf" \w {name}$", symbols, re.MULTILINE)) for name in _DESIGN}
    found["decay_va_pool_node"] = "small_pools" in features
    of_nodes = [there for name, there in found.items() if name != "drain_vmap_area_work"]
    missing = [name for name, there in found.items() if not there]
    if any(of_nodes) and missing:
        raise InputError(
            f"mm/vmalloc.c has vmap nodes, but no {', '.join(missing)}: renamed or replaced, and "
            "the model does not apply\n  next: look up the new name, and add it to "
            "harness/run/validate.py"
        )
    if not any(of_nodes) and "reclaim_vmap_area" not in symbols:
        raise InputError(
            "mm/vmalloc.c has neither vmap nodes nor the tracepoint reclaim_vmap_area, without "
            "which the areas of a purge cannot be known\n"
            "  next: add patches/linux-6.1-vmalloc-tracepoints.patch to the kernel's patches"
        )
    return any(of_nodes)


def preemption_of(critical: Mapping[str, str]) -> str:
    """Return the symbol that makes kernel code preemptible outside of locks; empty for none."""
    symbols = ("PREEMPT_RT", "PREEMPT_DYNAMIC", "PREEMPT", "PREEMPT_LAZY")
    return next((symbol for symbol in symbols if critical.get(symbol) == "y"), "")


def trace_kernel(
    source: tuple[str, Path, tuple[str, ...]],
    machine: tuple[int, int],
    loops: int,
    folder: Path,
    cache: Path,
    runner: Runner,
    progress: Progress,
) -> None:
    """Build `source` (name, kernels folder, further patches) and run `run_traced` on it.

    `machine`: possible and online CPUs.
    """
    name, kernels, patches = source
    spec = load_kernel_spec(name, kernels)
    spec = spec.model_copy(update={"patches": (*spec.patches, *patches)})
    kernel = ensure_kernel(spec, Cache(cache), runner, lambda _: None)
    run_traced(
        kernel, *machine, loops, folder, cache, runner, lambda phase: progress(f"{name}: {phase}")
    )


def run_traced(
    kernel: BuiltKernel,
    possible_cpus: int,
    online_cpus: int,
    loops: int,
    folder: Path,
    cache: Path,
    runner: Runner,
    progress: Progress,
) -> None:
    """Boot `kernel` traced and write trace, vmallocinfo and facts.json to `folder`.

    Raises InfrastructureError if the boot gave no complete trace.
    """
    threads = 1 if online_cpus == 1 else 2 * online_cpus
    cases = LOADS if online_cpus == 1 else tuple(replace(c, loops=c.loops / 4) for c in LOADS[:5])
    names, arch = [case.name for case in cases], kernel.spec.arch
    target = TracedTarget(names, online_cpus, _BUFFER_MIB, cache, runner, arch)
    page_size = kernel.page_size
    request = BootRequest(
        kernel=kernel,
        cpus=possible_cpus,
        loads=tuple(case.load(loops, threads) for case in cases),
        memory_mib=_memory_mib(cases, loops, threads, page_size),
        expected_s=600.0,  # on a busy host; nothing is printed during a case
        folder=folder,
    )
    target.check()
    result = target.boot(request, progress)
    if result.verdict is not Verdict.PASSED:
        raise InfrastructureError(
            f"tracing {kernel.spec.name}: {result.verdict}: {result.reason}\n"
            f"  console: {result.console}"
        )
    if not (folder / TRACE).is_file() or result.facts["errors"]:
        raise InfrastructureError(
            f"tracing {kernel.spec.name}: {'; '.join(result.facts['errors']) or 'no trace came'}\n"
            "  the kernel needs fragments/traced.config"
        )
    if unknown := re.findall(r"Failed to enable trace event: (\S{1,80})", result.kernel_log or ""):
        raise InfrastructureError(
            f"tracing {kernel.spec.name}: the kernel has no trace event {', '.join(unknown)}\n"
            "  next: look up its new name, and correct harness/model/trace.py"
        )
    (folder / "vmallocinfo").write_text(result.facts["files"]["/proc/vmallocinfo"])
    symbols = kernel.system_map.read_text(encoding="ascii")
    nodes = result.facts["vmap_nodes"]
    rules = rules_of(symbols, kernel.features, nodes, possible_cpus, online_cpus, page_size)
    facts = {"version": FORMAT, "kernel": kernel.spec.name, "cpus": online_cpus}
    facts["preemption"] = preemption_of(kernel.critical)
    facts["image"] = image_range(symbols)
    text = json.dumps({**facts, "rules": asdict(rules)}, indent=2)
    (folder / "facts.json").write_text(text + "\n", encoding="utf-8")


def _memory_mib(cases: Sequence[TracedLoad], loops: int, threads: int, page_size: int) -> int:
    """Return the memory of a traced guest: that of the largest case, and some for the rest."""
    held_kib = max(
        BY_SHORT_NAME[case.case].held_kib(LoadSize(1, loops, case.nr_pages, 0, page_size))
        for case in cases
    )
    return _MEMORY_MIB + room_mib(threads * held_kib)


def image_range(symbols: str) -> tuple[int, int]:
    """Return the address range of a kernel's image from its System.map, (0, 0) if unknown.

    arm64 maps its image into the vmalloc space, before vmalloc is initialised.
    """
    found = {
        name: int(address, 16)
        for address, name in re.findall(r"^([0-9a-f]{16}) \w (_text|_end)$", symbols, re.MULTILINE)
    }
    return found.get("_text", 0), found.get("_end", 0)


def validate_folder(folder: Path) -> Validation:
    """Replay the trace that `run_traced` wrote to `folder`.

    Raises InfrastructureError for an incomplete trace.
    """
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    with (folder / TRACE).open(encoding="utf-8", errors="replace") as lines:
        trace = parse_trace(lines)
    refuse_partial(trace, folder)
    mapped = (folder / "vmallocinfo").read_text(encoding="utf-8")
    start, end = vmalloc_range(trace.events)
    rules = replace(Rules(**facts["rules"]), vmalloc_start=start, vmalloc_end=end)
    check = _check_exactly if facts["cpus"] == 1 else _check_rules
    return check(facts, rules, trace.events, mapped, folder)


def refuse_partial(trace: Trace, folder: Path) -> None:
    """Raise InfrastructureError if events are missing, so that nothing could be concluded."""
    if trace.lost or trace.unread or not trace.events:
        quoted = "".join(f"\n    {line}" for line in trace.unread[:3])
        raise InfrastructureError(
            f"the trace in {folder} is incomplete: {len(trace.events)} events, {trace.lost} lost, "
            f"{len(trace.unread)} lines not understood{quoted}"
        )
    seen = {type(event) for event in trace.events}
    if missing := [name for name, kind in TRACEPOINTS.items() if kind not in seen]:
        raise InfrastructureError(
            f"the trace in {folder} has no event {', '.join(missing)}: the kernel has no such "
            "tracepoint, or no longer reaches it\n"
            "  next: see include/trace/events/vmalloc.h, and correct harness/model/trace.py"
        )


def vmalloc_range(events: list[Event]) -> tuple[int, int]:
    """Return VMALLOC_START and VMALLOC_END: the widest requested range."""
    ranges = {(event.start, event.end) for event in events if isinstance(event, Allocated)}
    return max(ranges, key=lambda pair: pair[1] - pair[0])


def _check_exactly(
    facts: Mapping[str, Any], rules: Rules, events: list[Event], mapped: str, folder: Path
) -> Validation:
    areas = list(parse_vmallocinfo(mapped.splitlines()))
    chunk_bytes = next((a.end - a.start for a in areas if "pcpu_get_vm_areas" in a.text), 0)
    first, last = facts.get("image", (0, 0))
    image = tuple((area.start, area.end) for area in areas if first <= area.start < last)
    rules = replace(rules, reserved=image)
    result = Replay(Allocator(rules), chunk_bytes).run(events)
    faults, explanations = check_allocator(result.allocator), []
    if result.divergence:
        faults.append(describe_divergence(result, events))
        if preemption := facts.get("preemption"):
            faults.append(
                f"this may be no defect: with {preemption} a purge may run inside an allocation or "
                "a free, whose events are then out of order; check with --cpus 2"
            )
        explanations = explain(events, rules, chunk_bytes)
    else:
        kernel_busy = {(area.start, area.end) for area in areas if not area.unpurged}
        faults += compare_busy(result.allocator, kernel_busy)
    cases = _count_cases(events, result)
    return Validation(
        facts["kernel"], "exact", rules.nodes, 1, len(events), cases, faults, explanations,
        str(folder),
    )  # fmt: skip


def compare_busy(allocator: Allocator, kernel_busy: set[tuple[int, int]]) -> list[str]:
    """Return how /proc/vmallocinfo and the model's busy areas differ, at the end of a trace."""
    ours = {(area.start, area.end) for state, area in allocator.areas() if state == "busy"}
    # Areas without a vm_struct (vm_map_ram blocks) have no line; the traced cases make none.
    faults = [f"vmallocinfo has {s:#x}-{e:#x}, the model not" for s, e in kernel_busy - ours]
    return faults + [f"the model has {s:#x}-{e:#x}, vmallocinfo not" for s, e in ours - kernel_busy]


def _count_cases(events: list[Event], result: ReplayResult) -> dict[str, tuple[int, int]]:
    totals: dict[str, int] = {}
    case = "boot"
    for event in events:
        if isinstance(event, Allocated):
            totals[case] = totals.get(case, 0) + (not event.failed)
        else:
            case = getattr(event, "text", case)
    return {case: (total, result.predicted.get(case, 0)) for case, total in totals.items()}


def _check_rules(
    facts: Mapping[str, Any], rules: Rules, events: list[Event], mapped: str, folder: Path
) -> Validation:
    del mapped
    violations = NodeRules(rules).run(events)
    faults = [
        f"event {v.index + 1} (line {v.event.where.line}, CPU {v.event.where.cpu}): {v.what}\n"
        f"    {render_event(v.event)}"
        for v in violations
    ]
    return Validation(
        facts["kernel"], "rules", rules.nodes, facts["cpus"], len(events), {}, faults, [],
        str(folder),
    )  # fmt: skip
