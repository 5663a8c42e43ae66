"""Explains where the time of a guest goes, by histogram triggers of the guest's own kernel.

The guest's init writes the triggers to tracefs before the module is loaded and reports the
histograms afterwards; see Documentation/trace/histogram.rst of the kernel. The timer tick of each
CPU that is not idle records the interrupted stack, `lock:contention_begin` and `_end` give the
waits for locks, and kprobes the duration of each call. The histograms come from the guest and are
parsed as untrusted text.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from harness.build.kconfig import parse_config
from harness.targets.base import BootRequest, BootResult
from harness.targets.explanation import (
    FILE,
    BootAccount,
    CallTimes,
    spent_by_stack,
    write_explanation,
)
from harness.targets.histograms import (
    ENTRIES,
    LOCK_WAITS,
    MEASURED,
    TRACEFS,
    HistogramRow,
    lock_triggers,
    lock_waits,
    read_histogram,
    timed_between,
)
from harness.targets.symbols import Symbols, Variables, parse_system_map

_TICKS = "events/timer/hrtimer_expire_entry"  # below TRACEFS
# Calls to time, and the functions to probe: the first of each that the kernel has.
_TIMED: Mapping[str, tuple[str, ...]] = {
    "alloc": ("__vmalloc_node_range_noprof", "__vmalloc_node_range"),
    "free": ("vfree",),
    "purge": ("__purge_vmap_area_lazy",),
}
_TICK_HANDLERS = ("tick_nohz_handler", "tick_sched_timer")
_STEP_NS = 100  # resolution of the time of a call
_SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}

_BUCKET = re.compile(r"\{ ns: ~ [0-9]{1,15}-([0-9]{1,15}) ")
_DROPPED = re.compile(r" +Dropped: ([0-9]{1,15})\b")
_NOTE = (
    "The kernel of these boots traces itself, which takes time. It reports the wait of a "
    "CPU that queues for a spin lock, but not that of the first one in the queue; time with "
    "interrupts disabled is attributed to the code that enables them again."
)
_INTERRUPT = re.compile(r"asm_sysvec_\w+|asm_common_interrupt|el1h_64_irq")
# Functions by which probes and events enter the kernel's tracing.
_TRACER = re.compile(
    r"optimized_callback|k(ret)?probe_\w+|(arch_)?rethook_\w+|ftrace_\w+|event_triggers_call|"
    r"trace_event_raw_event_\w+|trace_event_buffer_\w+"
)


def timed_functions(symbols: Symbols) -> dict[str, str]:
    """Return name of the call -> function to probe, for those that the kernel has."""
    there = set(symbols.names)
    found = {
        name: next((function for function in functions if function in there), "")
        for name, functions in _TIMED.items()
    }
    return {name: function for name, function in found.items() if function}


def explaining_script(request: BootRequest) -> list[str]:
    """Return the script that sets up the histograms, loads the module, and reports them."""
    symbols = parse_system_map(_system_map(request))
    timed = timed_functions(symbols)
    handler = next((name for name in _TICK_HANDLERS if name in symbols.names), "")
    filters = MEASURED
    if handler:
        filters += f" && function == {symbols.address_of(handler):#x}"
    before = [
        (f"{_TICKS}/trigger", f"hist:keys=stacktrace:size={ENTRIES} if {filters}"),
        *lock_triggers(),
    ]
    for name, function in timed.items():
        before += [
            ("kprobe_events", f"p:vmapbench/{name} {function}"),
            ("kprobe_events", f"r:vmapbench/{name}_done {function}"),
            ("synthetic_events", f"call_{name} u64 ns"),
            *timed_between(
                f"vmapbench/{name}",
                f"vmapbench/{name}_done",
                keys="common_pid",
                report=f"call_{name}($TIME)",
            ),
            (f"{_calls(name)}/trigger", f"hist:keys=ns.buckets={_STEP_NS}:size={ENTRIES}"),
        ]
    return [
        *([f"fragment {request.fragment}"] if request.fragment else []),
        *(f"write {TRACEFS}/{file} {line}" for file, line in before),
        *(f"load {load}" for load in request.loads),
        f"write {TRACEFS}/tracing_on 0",
        *(f"collect {_histogram(event)}" for event in (_TICKS, LOCK_WAITS, *map(_calls, timed))),
        "log",
    ]


def _calls(name: str) -> str:
    return f"events/synthetic/call_{name}"


def _histogram(event: str) -> str:
    return f"{TRACEFS}/{event}/hist"


def explain_guest(request: BootRequest, result: BootResult) -> None:
    """Write the account of a boot to its folder, if the guest reported the histograms."""
    config = request.kernel.config.read_text(encoding="ascii", errors="replace")
    hz = parse_config(config).get("HZ", "")
    found = account_of(
        result.facts.get("files", {}),
        _system_map(request),
        tick_ns=1e9 / (int(hz) if re.fullmatch(r"[1-9][0-9]{2,3}", hz) else 250),
        clock="the guest's clock",
    )
    if found:
        write_explanation(request.folder / FILE, found)


def _system_map(request: BootRequest) -> str:
    return request.kernel.system_map.read_text(encoding="ascii", errors="replace")


def account_of(
    files: Mapping[str, str], system_map: str, tick_ns: float, clock: str
) -> BootAccount | None:
    """Return the account of a boot, or None if the histogram of the ticks is missing.

    `files`: path -> content, as reported by the guest; `tick_ns`: time between two ticks of a CPU;
    `clock`: name of the guest's clock.
    """
    ticks = files.get(_histogram(_TICKS))
    if ticks is None:
        return None
    calls = ((name, files.get(_histogram(_calls(name)), "")) for name in _TIMED)
    waits = read_histogram(files.get(_histogram(LOCK_WAITS), ""))
    return BootAccount(
        clock=clock,
        note=_NOTE,
        locks=tuple(lock_waits(waits, Variables(system_map))),
        calls=tuple(times for name, text in calls if (times := call_times(name, text))),
        **spent_by_stack(interrupted_stacks(read_histogram(ticks)), tick_ns),
    )


def interrupted_stacks(rows: Iterable[HistogramRow]) -> Counter[tuple[str, ...]]:
    """Return the number of ticks per interrupted stack, outermost function first.

    Functions of the kernel's own tracing are one function, `[tracing]`.
    """
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        entries = [i for i, name in enumerate(row.stack) if _INTERRUPT.fullmatch(name)]
        functions = row.stack[entries[-1] + 1 :] if entries else ()
        outer = itertools.takewhile(lambda name: not _TRACER.fullmatch(name), reversed(functions))
        stack = tuple(outer)
        traced = ("[tracing]",) if len(stack) < len(functions) else ()
        found[stack + traced or ("[unknown]",)] += row.hits
    return found


def call_times(name: str, text: str) -> CallTimes | None:
    """Return the durations of the calls `name` from its histogram; None if it is empty."""
    counts: Counter[int] = Counter()
    for row in read_histogram(text):
        if bucket := _BUCKET.match(row.keys):
            counts[int(bucket[1])] += row.hits
    if not counts:
        return None
    dropped = _DROPPED.search(text)
    whole = sum(counts.values())
    return CallTimes(
        call=name,
        calls=whole,
        lost=int(dropped[1]) if dropped else 0,
        **{field: _quantile(counts, share * whole) for field, share in _SHARES.items()},
    )


def _quantile(counts: Mapping[int, int], rank: float) -> int:
    """Return the smallest value such that a share `rank` of the counted ones is not above it."""
    values = sorted(counts)
    seen = itertools.accumulate(counts[value] for value in values)
    return next(value for value, count in zip(values, seen, strict=True) if count >= rank)
