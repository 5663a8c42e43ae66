"""Histogram triggers of the kernel's tracing, and the parser of their histograms.

See Documentation/trace/histogram.rst of the kernel. The histograms are parsed as untrusted text.
"""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.targets.explanation import LockUse
from harness.targets.symbols import MODULE, Variables

TRACEFS = "/sys/kernel/tracing"
FRAGMENT = "fragments/explain.config"  # config that they need
EXPLAINING = ("nokaslr",)  # boot parameters, so that addresses are those of System.map
MEASURED = "common_pid > 1"  # neither the idle task nor our init
ENTRIES = 8192  # of a histogram; the kernel counts the events that do not fit
LOCK_WAITS = "events/synthetic/lock_wait"  # below TRACEFS

_TAIL = re.compile(r"\} hitcount: +([0-9]{1,8})(?: +ns: +([0-9]{1,15}))? *")
_LOCK = re.compile(r"\{ lock: (?:0x)?([0-9a-f]{1,16})\b")
# The module is unloaded when the histogram is reported, so its functions are bare addresses.
_FRAME = re.compile(
    r" +(?:([A-Za-z_][\w.]{0,150})\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[\w+\])?|0x[0-9a-f]{8,16})"
)
_TAKES_LOCK = re.compile(
    r"(_raw_|(native_)?queued_|__pv_|(__)?mutex_lock|(__)?down_(read|write)|rwsem_|"
    r"__(read|write)_lock|percpu_rwsem_|__percpu_|rt_)[\w.]*"
)


def lock_triggers() -> list[tuple[str, str]]:
    """Return (file below TRACEFS, line to write) for a histogram of waits for locks."""
    return [
        ("synthetic_events", "lock_wait u64 lock; u64 ns"),
        *timed_between(
            "lock/contention_begin",
            "lock/contention_end",
            keys="common_pid,lock_addr",
            report="lock_wait(lock_addr,$TIME)",
            only=f" if {MEASURED}",
        ),
        (f"{LOCK_WAITS}/trigger", "hist:keys=lock.hex,stacktrace:vals=ns:size=1024"),
    ]


def timed_between(
    begin: str, end: str, keys: str, report: str, only: str = ""
) -> list[tuple[str, str]]:
    """Return (file below TRACEFS, line to write) for a synthetic event with the time between two
    events. `report`: the event's call, with `$TIME` for the time in ns; `only`: a filter.
    """
    name = begin.replace("/", "_")
    report = report.replace("$TIME", f"${name}_took")
    took = f"{name}_took=common_timestamp-${name}_began"
    return [
        (f"events/{begin}/trigger", f"hist:keys={keys}:{name}_began=common_timestamp{only}"),
        (
            f"events/{end}/trigger",
            f"hist:keys={keys}:{took}:onmatch({begin.replace('/', '.')}).{report}{only}",
        ),
    ]


@dataclass(frozen=True)
class HistogramRow:
    """An entry of a histogram.

    `keys`: as printed; `stack`: innermost function first; `hits`, `ns`: number of events and sum of
    their times.
    """

    keys: str
    stack: tuple[str, ...]
    hits: int
    ns: int


def read_histogram(text: str) -> Iterator[HistogramRow]:
    """Return the entries of a `hist` file, at most `ENTRIES`; other lines are ignored."""
    return itertools.islice(_entries(text), ENTRIES)


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


def lock_waits(rows: Iterable[HistogramRow], variables: Variables) -> list[LockUse]:
    """Return the waits per lock and waiting function."""
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
