"""Replays a trace on the model and compares every address and count with the kernel's.

This is exact with one online CPU, if no task is preempted between an operation and its event
(docs/explanation/model.md), as events then have the order of the operations. For several CPUs see
`harness.model.node_rules`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.model.allocator import Allocator, Purge, VmapArea
from harness.model.trace import (
    Allocated,
    ChunkCreated,
    ChunkDestroyed,
    Event,
    Freed,
    Marked,
    Purged,
    Reclaimed,
    WorkStarted,
)


@dataclass(frozen=True)
class Divergence:
    """The first event that the model did not predict."""

    index: int  # of the event in the trace, from 0
    event: Event
    what: str
    expected: str
    found: str


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay. `allocator`: its final state.

    `predicted`: number of allocations with the predicted address, by case ("boot" before the first
    one); `events`: number of events, by case.
    """

    predicted: Mapping[str, int]
    events: Mapping[str, int]
    divergence: Divergence | None
    allocator: Allocator

    @property
    def exact(self) -> bool:
        """Whether the whole trace was predicted."""
        return self.divergence is None


class _DivergedError(Exception):
    def __init__(self, what: str, expected: object, found: object):
        self.what, self.expected, self.found = what, str(expected), str(found)
        super().__init__(what)


@dataclass
class Replay:
    """A replay on `allocator`. `chunk_bytes`: size of a per-CPU chunk's area, 0 if unknown."""

    allocator: Allocator
    chunk_bytes: int = 0
    case: str = "boot"
    predicted: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    _purge: Purge | None = None
    _out_of_space: set[int] = field(default_factory=set)

    def run(self, events: Iterable[Event]) -> ReplayResult:
        """Replay `events` until the first divergence."""
        divergence = None
        for index, event in enumerate(events):
            try:
                self._step(event)
            except _DivergedError as error:
                divergence = Divergence(index, event, error.what, error.expected, error.found)
                break
            self.events[self.case] += 1
        return ReplayResult(self.predicted, self.events, divergence, self.allocator)

    def _step(self, event: Event) -> None:
        match event:
            case Allocated():
                self._allocated(event)
            case Freed():
                self._freed(event)
            case Purged():
                self._purged(event)
            case Reclaimed():
                self._reclaimed(event)
            case WorkStarted():
                self._work_started(event)
            case Marked():
                self.case = event.text
            case ChunkCreated():
                self._chunk_created(event)
            case ChunkDestroyed():
                self._chunk_destroyed(event)

    def _allocated(self, event: Allocated) -> None:
        area = self.allocator.allocate(
            event.size, event.alignment, event.where.cpu, event.start, event.end
        )
        if event.failed:
            # The kernel now purges with a full decay and tries again (`goto overflow`).
            self._out_of_space.add(event.where.pid)
            _expect("outcome of an allocation", None, area)
            return
        expected = None if area is None else hex(area.start)
        _expect("address of an allocation", expected, hex(event.address))
        self.predicted[self.case] += 1

    def _freed(self, event: Freed) -> None:
        try:
            self.allocator.free(event.address)
        except KeyError:
            raise _DivergedError("free", "a busy area", f"{event.address:#x}") from None
        _expect("lazy pages after a free", self.allocator.lazy_pages, event.lazy_pages)
        _expect("limit of lazy pages", self.allocator.rules.lazy_max_pages, event.lazy_max_pages)

    def _work_started(self, event: WorkStarted) -> None:
        """Start a purge in a work item, or run one of its helpers."""
        if self.allocator.rules.merge_lazy:
            return  # that kernel has an event for each area
        if event.function == "drain_vmap_area_work" and self._purge is None:
            self._purge = self.allocator.start_purge()
            for index in self._purge.inline:
                self.allocator.purge_node(self._purge, index)
        elif event.function == "purge_vmap_node" and self._purge and self._purge.helpers:
            self.allocator.purge_node(self._purge, self._purge.helpers.pop(0))

    def _reclaimed(self, event: Reclaimed) -> None:
        if self._purge is None:
            self._purge = self.allocator.start_purge()
        waiting = self._purge.detached.get(0, [])
        area = waiting.pop(0) if waiting else None
        expected = None if area is None else (hex(area.start), hex(area.end))
        _expect("area of a purge", expected, (hex(event.start), hex(event.end)))
        assert area is not None
        self._purge.purged_areas += 1
        self.allocator.lazy_pages -= self.allocator.pages(area)
        self.allocator.reclaim([area])

    def _purged(self, event: Purged) -> None:
        purge, self._purge = self._purge, None
        if purge is None:
            full = event.where.pid in self._out_of_space
            self._out_of_space.discard(event.where.pid)
            purge = self.allocator.purge(full)
        for index in list(purge.detached):
            if purge.detached[index]:
                raise _DivergedError("end of a purge", "all nodes done", f"node {index} not done")
        _expect("number of purged areas", purge.purged_areas, event.areas)
        # vm_unmap_aliases() passes its own range, so the event's may be larger.
        inside = event.start <= purge.start and purge.end <= event.end
        if not inside:
            expected = f"[{purge.start:#x}, {purge.end:#x})"
            raise _DivergedError(
                "range of a purge", expected, f"[{event.start:#x}, {event.end:#x})"
            )

    def _chunk_created(self, event: ChunkCreated) -> None:
        end = event.base + self.chunk_bytes
        if not self.chunk_bytes or not self.allocator.space.take(event.base, end):
            raise _DivergedError("per-CPU chunk", "free space", f"{event.base:#x}")
        node = self.allocator.node_of(event.base)
        node.busy[event.base] = VmapArea(event.base, end, None)

    def _chunk_destroyed(self, event: ChunkDestroyed) -> None:
        # pcpu_free_vm_areas() frees it like vfree: a free event follows.
        _expect("per-CPU chunk", True, event.base in self.allocator.node_of(event.base).busy)


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise _DivergedError(what, expected, found)
