"""Parses a trace of the vmalloc tracepoints in the format of /sys/kernel/tracing/trace. Pure.

The events are declared in include/trace/events/vmalloc.h, workqueue.h and percpu.h. Each has the
number of its line, for messages.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

BOOT_EVENTS = (
    "vmalloc:*",
    "workqueue:workqueue_execute_start",
    "percpu:percpu_create_chunk",
    "percpu:percpu_destroy_chunk",
)
"""Value of `trace_event=` on the kernel command line. Events are needed from early boot on, as the
free space of a running system cannot be read."""


class Where(NamedTuple):
    """Place of an event: line of the text (from 1), CPU, process id, seconds since boot."""

    line: int
    cpu: int
    pid: int
    time_s: float


class Allocated(NamedTuple):
    """`alloc_vmap_area`. `failed`: nothing fitted, and `address` is undefined."""

    where: Where
    address: int
    size: int
    alignment: int
    start: int
    end: int
    failed: bool


class Freed(NamedTuple):
    """`free_vmap_area_noflush`. `lazy_pages` includes this area."""

    where: Where
    address: int
    lazy_pages: int
    lazy_max_pages: int


class Purged(NamedTuple):
    """`purge_vmap_area_lazy`, at the end of a purge."""

    where: Where
    start: int
    end: int
    areas: int


class Reclaimed(NamedTuple):
    """`reclaim_vmap_area` (Linux 6.1 with our patch): a purge has freed an area."""

    where: Where
    start: int
    end: int


class WorkStarted(NamedTuple):
    """`workqueue_execute_start` of a work function."""

    where: Where
    function: str


class ChunkCreated(NamedTuple):
    """`percpu_create_chunk`; `pcpu_get_vm_areas` allocated its space, without an event."""

    where: Where
    base: int


class ChunkDestroyed(NamedTuple):
    """`percpu_destroy_chunk`."""

    where: Where
    base: int


class Marked(NamedTuple):
    """Text written to trace_marker, which marks the begin of a case."""

    where: Where
    text: str


TRACEPOINTS = {
    "alloc_vmap_area": Allocated,
    "free_vmap_area_noflush": Freed,
    "purge_vmap_area_lazy": Purged,
}
"""Event types of mm/vmalloc.c, all of which occur in every trace of a few thousand allocations."""

Event = (
    Allocated | Freed | Purged | Reclaimed | WorkStarted | ChunkCreated | ChunkDestroyed | Marked
)


@dataclass(frozen=True)
class Trace:
    """A parsed trace. `lost`: number of events lost in the ring buffer; `unread`: invalid lines."""

    events: list[Event]
    lost: int = 0
    unread: list[str] = field(default_factory=list)


_LINE = re.compile(
    r"\s*(?P<task>.{1,16})-(?P<pid>\d+)\s+\[(?P<cpu>\d+)\]\s+(?:\S+\s+)?(?P<time>\d+\.\d+): "
    r"(?P<event>\w+): (?P<fields>.*)"
)
_LOST = re.compile(r"CPU:\d+ \[LOST (\d+) EVENTS\]")
_ENTRIES = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")
_ALLOCATED = re.compile(
    r"va_start: (\d+) size=(\d+) align=(\d+) vstart=0x(\w+) vend=0x(\w+) failed=(\d+)"
)
_FREED = re.compile(r"va_start=0x(\w+) nr_lazy=(\d+) nr_lazy_max=(\d+)")
_RANGE = re.compile(r"start=0x(\w+) end=0x(\w+)(?: num_purged=(\d+))?")
_WORK = re.compile(r"work struct \S+: function (\w+)")
_CHUNK = re.compile(r"base_addr=(?:0x)?(\w+)")


def parse_trace(lines: Iterable[str]) -> Trace:
    """Return the events in `lines`, in order. Never raises."""
    trace = Trace([])
    lost = 0
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if entries := _ENTRIES.match(line):
                lost += int(entries[2]) - int(entries[1])
            continue
        if (dropped := _LOST.match(line)) is not None:
            lost += int(dropped[1])
            continue
        event = _parse_line(number, line)
        if event is not None:
            trace.events.append(event)
        elif line.strip():
            trace.unread.append(f"{number}: {line.rstrip()}")
    return Trace(trace.events, lost, trace.unread)


def _parse_line(number: int, line: str) -> Event | None:
    match = _LINE.match(line)
    parser = _PARSERS.get(match["event"]) if match else None
    if match is None or parser is None:
        return None
    where = Where(number, int(match["cpu"]), int(match["pid"]), float(match["time"]))
    return parser(where, match["fields"])


def _parse_allocated(where: Where, fields: str) -> Event | None:
    if not (m := _ALLOCATED.match(fields)):
        return None
    address, size, alignment = int(m[1]), int(m[2]), int(m[3])
    return Allocated(where, address, size, alignment, int(m[4], 16), int(m[5], 16), m[6] != "0")


def _parse_freed(where: Where, fields: str) -> Event | None:
    m = _FREED.match(fields)
    return Freed(where, int(m[1], 16), int(m[2]), int(m[3])) if m else None


def _parse_purged(where: Where, fields: str) -> Event | None:
    m = _RANGE.match(fields)
    return Purged(where, int(m[1], 16), int(m[2], 16), int(m[3])) if m and m[3] else None


def _parse_reclaimed(where: Where, fields: str) -> Event | None:
    m = _RANGE.match(fields)
    return Reclaimed(where, int(m[1], 16), int(m[2], 16)) if m else None


def _parse_work(where: Where, fields: str) -> Event | None:
    m = _WORK.match(fields)
    return WorkStarted(where, m[1]) if m else None


def _parse_created(where: Where, fields: str) -> Event | None:
    m = _CHUNK.match(fields)
    return ChunkCreated(where, int(m[1], 16)) if m else None


def _parse_destroyed(where: Where, fields: str) -> Event | None:
    m = _CHUNK.match(fields)
    return ChunkDestroyed(where, int(m[1], 16)) if m else None


_PARSERS: dict[str, Callable[[Where, str], Event | None]] = {
    "alloc_vmap_area": _parse_allocated,
    "free_vmap_area_noflush": _parse_freed,
    "purge_vmap_area_lazy": _parse_purged,
    "reclaim_vmap_area": _parse_reclaimed,
    "workqueue_execute_start": _parse_work,
    "percpu_create_chunk": _parse_created,
    "percpu_destroy_chunk": _parse_destroyed,
    "tracing_mark_write": Marked,
}


class MappedArea(NamedTuple):
    """A line of /proc/vmallocinfo. `unpurged`: freed and waiting for a purge."""

    start: int
    end: int
    text: str
    unpurged: bool


_MAPPED = re.compile(r"0x([0-9a-f]{8,16})-0x([0-9a-f]{8,16})\s+\d+\s*(.*)")


def parse_vmallocinfo(lines: Iterable[str]) -> Iterator[MappedArea]:
    """Yield the areas in the lines of /proc/vmallocinfo; other lines are ignored."""
    for line in lines:
        if match := _MAPPED.match(line):
            text = match[3]
            yield MappedArea(int(match[1], 16), int(match[2], 16), text, "unpurged" in text)
