"""Where the time of a guest goes, from histograms that its kernel keeps while it traces itself.

No user land is needed: init writes triggers to tracefs before the module is loaded and reports the
histograms afterwards; see Documentation/trace/histogram.rst of the kernel. A tick of each CPU that
is not idle notes the stack that it interrupts, `lock:contention_begin` and `_end` give waits for
locks, and probes of functions give the time of each call. The files come from the guest, so they
are read as untrusted text.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.targets.base import BootRequest, BootResult
from harness.targets.explanation import (
    FILE,
    BootAccount,
    CallTimes,
    FunctionTime,
    LockUse,
    Stack,
    write_explanation,
)
from harness.targets.symbols import MODULE, SLOW_PATHS, Symbols, Variables, parse_system_map

FRAGMENT = "fragments/explain.config"
EXPLAINING = ("nokaslr",)  # boot parameters: addresses are those of System.map
TRACEFS = "/sys/kernel/tracing"
_EVENTS = f"{TRACEFS}/events"
_TICKS = f"{_EVENTS}/timer/hrtimer_expire_entry"
_WAITS = f"{_EVENTS}/synthetic/lock_wait"
# What is timed, and the functions that do it: the first that a kernel has.
_TIMED: Mapping[str, tuple[str, ...]] = {
    "alloc": ("__vmalloc_node_range_noprof", "__vmalloc_node_range"),
    "free": ("vfree",),
    "purge": ("__purge_vmap_area_lazy",),
}
_MEASURED = "common_pid > 1"  # neither what is idle nor init, which sets up and reports
_TICK_HANDLERS = ("tick_nohz_handler", "tick_sched_timer")
_STEP_NS = 100  # resolution of the time of a call
_ENTRIES = 8192  # of a histogram; the kernel counts what does not fit
_SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}

_TAIL = re.compile(r"\} hitcount: +([0-9]{1,8})(?: +ns: +([0-9]{1,15}))? *")
_BUCKET = re.compile(r"\{ ns: ~ [0-9]{1,15}-([0-9]{1,15}) ")
_LOCK = re.compile(r"\{ lock: (?:0x)?([0-9a-f]{1,16})\b")
# A module is unloaded when the histogram is reported, so its functions have addresses only.
_FRAME = re.compile(
    r" +(?:([A-Za-z_][\w.]{0,150})\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?|0x[0-9a-f]{8,16})"
)
_DROPPED = re.compile(r" +Dropped: ([0-9]{1,15})\b")
_NOTE = (
    "The kernel of these boots traces itself, which takes time. It reports the wait of a "
    "CPU that queues for a spin lock, but not of the one CPU that waits next to the holder; code "
    "that runs with interrupts off counts where they come on again."
)
_INTERRUPT = re.compile(r"asm_sysvec_\w+|asm_common_interrupt")
_TAKES_LOCK = re.compile(
    r"(_raw_|(native_)?queued_|__pv_|(__)?mutex_lock|(__)?down_(read|write)|rwsem_|"
    r"__(read|write)_lock|percpu_rwsem_|__percpu_|rt_)[\w.]*"
)


def timed_functions(symbols: Symbols) -> dict[str, str]:
    """Return name -> function of what is timed, as far as the kernel has it as a function."""
    there = set(symbols.names)
    found = {
        name: next((function for function in functions if function in there), "")
        for name, functions in _TIMED.items()
    }
    return {name: function for name, function in found.items() if function}


def explaining_script(request: BootRequest) -> list[str]:
    """Return init's lines that set up the histograms, load the module, and report them."""
    symbols = parse_system_map(_system_map(request))
    timed = timed_functions(symbols)
    handler = next((name for name in _TICK_HANDLERS if name in symbols.names), "")
    filters = _MEASURED
    if handler:
        filters += f" && function == {symbols.address_of(handler):#x}"
    before = [
        _trigger(_TICKS, f"keys=stacktrace:size={_ENTRIES} if {filters}"),
        f"write {TRACEFS}/synthetic_events lock_wait u64 lock; u64 ns",
        *_timed_between(
            "lock/contention_begin",
            "lock/contention_end",
            keys="common_pid,lock_addr",
            report="lock_wait(lock_addr,$TIME)",
            only=f" if {_MEASURED}",
        ),
        _trigger(_WAITS, "keys=lock.hex,stacktrace:vals=ns:size=1024"),
    ]
    for name, function in timed.items():
        before += [
            f"write {TRACEFS}/kprobe_events p:vmapbench/{name} {function}",
            f"write {TRACEFS}/kprobe_events r:vmapbench/{name}_done {function}",
            f"write {TRACEFS}/synthetic_events call_{name} u64 ns",
            *_timed_between(
                f"vmapbench/{name}",
                f"vmapbench/{name}_done",
                keys="common_pid",
                report=f"call_{name}($TIME)",
            ),
            _trigger(_calls(name), f"keys=ns.buckets={_STEP_NS}:size={_ENTRIES}"),
        ]
    files = [f"{event}/hist" for event in (_TICKS, _WAITS, *map(_calls, timed))]
    return [
        *([f"fragment {request.fragment}"] if request.fragment else []),
        *before,
        *(f"load {load}" for load in request.loads),
        f"write {TRACEFS}/tracing_on 0",
        *(f"collect {file}" for file in files),
        "log",
    ]


def _timed_between(begin: str, end: str, keys: str, report: str, only: str = "") -> list[str]:
    """Return the lines that report a synthetic event with the time from one event to another."""
    name = begin.replace("/", "_")
    report = report.replace("$TIME", f"${name}_took")
    took = f"{name}_took=common_timestamp-${name}_began"
    return [
        _trigger(f"{_EVENTS}/{begin}", f"keys={keys}:{name}_began=common_timestamp{only}"),
        _trigger(
            f"{_EVENTS}/{end}",
            f"keys={keys}:{took}:onmatch({begin.replace('/', '.')}).{report}{only}",
        ),
    ]


def _trigger(event: str, what: str) -> str:
    return f"write {event}/trigger hist:{what}"


def _calls(name: str) -> str:
    return f"{_EVENTS}/synthetic/call_{name}"


@dataclass(frozen=True)
class HistogramRow:
    """One entry: its keys as they are printed, its stack from the innermost function, its sums."""

    keys: str
    stack: tuple[str, ...]
    hits: int
    ns: int


def read_histogram(text: str) -> Iterator[HistogramRow]:
    """Return the entries of a `hist` file, `_ENTRIES` at most; what is no entry is passed over."""
    return itertools.islice(_entries(text), _ENTRIES)


def _entries(text: str) -> Iterator[HistogramRow]:
    keys = ""
    stack: list[str] = []
    for line in text.splitlines():
        if line.startswith("{ "):
            keys, stack = line[:300], []
        if tail := _TAIL.search(line):
            yield HistogramRow(keys, tuple(stack), int(tail[1]), int(tail[2] or 0))
            keys, stack = "", []
        elif (frame := _FRAME.fullmatch(line)) and len(stack) < 40:
            stack.append(frame[1] or MODULE)


def explain_guest(request: BootRequest, result: BootResult) -> None:
    """Write what a guest spent its time on to the boot's folder, where the guest said so."""
    config = request.kernel.config.read_text(encoding="ascii", errors="replace")
    ticks = re.search(r"^CONFIG_HZ=([1-9][0-9]{2,3})$", config, re.MULTILINE)
    found = account_of(
        result.facts.get("files", {}),
        _system_map(request),
        tick_ns=1e9 / (int(ticks[1]) if ticks else 250),
        clock="the guest's clock",
    )
    if found:
        write_explanation(request.folder / FILE, found)


def _system_map(request: BootRequest) -> str:
    return request.kernel.system_map.read_text(encoding="ascii", errors="replace")


def account_of(
    files: Mapping[str, str], system_map: str, tick_ns: float, clock: str
) -> BootAccount | None:
    """Return what a guest spent its time on, from the files that it reported by path.

    `tick_ns`: time between two ticks of a CPU. None where the ticks were not reported.
    """
    ticks = files.get(f"{_TICKS}/hist")
    if ticks is None:
        return None
    stacks = interrupted_stacks(read_histogram(ticks))
    own: Counter[str] = Counter()
    for functions, hits in stacks.items():
        own[functions[-1]] += hits
    spin = sum(own.pop(name, 0) for name in SLOW_PATHS)
    calls = ((name, files.get(f"{_calls(name)}/hist", "")) for name in _TIMED)
    waits = read_histogram(files.get(f"{_WAITS}/hist", ""))
    return BootAccount(
        clock=clock,
        note=_NOTE,
        spin_ns=round(spin * tick_ns),
        locks=tuple(lock_waits(waits, Variables(system_map))),
        functions=tuple(
            FunctionTime(function=name, cpu_ns=round(hits * tick_ns)) for name, hits in own.items()
        ),
        calls=tuple(times for name, text in calls if (times := call_times(name, text))),
        stacks=tuple(
            Stack(functions=functions, cpu_ns=round(hits * tick_ns))
            for functions, hits in stacks.items()
        ),
    )


def interrupted_stacks(rows: Iterable[HistogramRow]) -> Counter[tuple[str, ...]]:
    """Return how many ticks interrupted each stack, the outermost function first."""
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        entries = [i for i, name in enumerate(row.stack) if _INTERRUPT.fullmatch(name)]
        functions = row.stack[entries[-1] + 1 :] if entries else ()
        found[tuple(reversed(functions)) or ("[unknown]",)] += row.hits
    return found


def lock_waits(rows: Iterable[HistogramRow], variables: Variables) -> list[LockUse]:
    """Return the waits by lock and the function that waits for it."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        lock = _LOCK.match(row.keys)
        if lock is None:
            continue
        inner = [i for i, name in enumerate(row.stack) if _TAKES_LOCK.fullmatch(name)]
        after = row.stack[inner[-1] + 1 :] if inner else ()
        key = variables.name_of(int(lock[1], 16)), after[0] if after else "[unknown]"
        found.setdefault(key, Counter()).update(timed=row.hits, wait_ns=row.ns)
    return [LockUse(lock=lock, caller=caller, **sums) for (lock, caller), sums in found.items()]


def call_times(name: str, text: str) -> CallTimes | None:
    """Return the times of one function's calls; None where none was seen."""
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
    """Return the value that at least `rank` of the counted ones do not exceed."""
    values = sorted(counts)
    seen = itertools.accumulate(counts[value] for value in values)
    return next(value for value, count in zip(values, seen, strict=True) if count >= rank)
