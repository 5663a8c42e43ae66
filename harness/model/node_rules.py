"""Checks a trace of several CPUs, event by event, against the invariants and the node rules.

With several CPUs the order of the events may differ slightly from that of what they report, so
addresses cannot be predicted. A free is reported after it happened, and a virtual CPU may be
stopped in between, so that the purge and the next user of the area are reported first. This is
possible only for the first free that a task reports after a purge. The rules hold in every
possible order, so that a correct kernel breaks none:

- an address is aligned, in its range, and no part of it is busy, or lazy without a purge since;
- a freed area was busy;
- a purge takes at least the areas that were lazy before it began;
- an area that a purge returned to a node's pool is used by another node only after that pool
  decayed: for each pool, no more areas than all decays so far could have released.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.model.allocator import Rules
from harness.model.trace import Allocated, Event, Freed, Purged, WorkStarted


@dataclass(frozen=True)
class Violation:
    """A violation of a rule. `index`: of the event in the trace, from 0; `what`: description."""

    index: int
    event: Event
    what: str


@dataclass
class _Area:
    start: int
    end: int
    owner: int | None
    state: str  # busy, lazy, returned (in a pool or free)

    @property
    def pool(self) -> tuple[int | None, int]:
        return self.owner, self.end - self.start


@dataclass
class NodeRules:
    """Checks a trace, which must be complete from its first event on, with `run`.

    `checked`: number of events checked.
    """

    rules: Rules
    violations: list[Violation] = field(default_factory=list)
    checked: int = 0
    _areas: dict[int, _Area] = field(default_factory=dict)
    _starts: list[int] = field(default_factory=list)
    _lazy: list[_Area] = field(default_factory=list)
    _returned: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    _decayed: Counter[tuple[int | None, int]] = field(default_factory=Counter)
    _late_frees: Counter[int] = field(default_factory=Counter)
    _last_cpu: dict[int, int] = field(default_factory=dict)
    _purges: int = 0  # number of finished purges
    _purges_at_free: dict[int, int] = field(default_factory=dict)  # task -> `_purges` at last free
    # Uses of busy areas, by the address whose free may be reported late.
    _unreported: dict[int, Violation] = field(default_factory=dict)
    _lazy_at_start: int | None = None  # of the current purge
    _early: list[Violation] = field(default_factory=list)  # uses of lazy areas, if no purge began

    def run(self, events: Iterable[Event]) -> list[Violation]:
        """Check all events of a trace; return the violations."""
        for index, event in enumerate(events):
            faults = self._check(event, index)
            self.violations += [Violation(index, event, fault) for fault in faults]
            self._last_cpu[event.where.pid] = event.where.cpu
            self.checked += 1
        self._check_early()
        self.violations += self._unreported.values()
        self.violations.sort(key=lambda violation: violation.index)
        return self.violations

    def _check(self, event: Event, index: int) -> list[str]:
        match event:
            case Allocated(failed=False):
                return self._allocated(event, index)
            case Freed():
                return self._freed(event)
            case WorkStarted(function="drain_vmap_area_work"):
                self._check_early()
                self._purge_started()
            case Purged():
                return self._purged(event)
        return []

    def _check_early(self) -> None:
        """Report the pending uses of lazy areas, which no purge has preceded."""
        self.violations += self._early
        self._early = []

    def _allocated(self, event: Allocated, index: int) -> list[str]:
        faults = []
        start, end = event.address, event.address + event.size
        if start % event.alignment:
            faults.append(f"{start:#x} is not aligned to {event.alignment:#x}")
        if not event.start <= start <= end <= event.end:
            faults.append(f"{start:#x} is outside its range")
        nodes = self._nodes_of(event)
        for area in self._overlapping(start, end):
            if area.state == "lazy" and self._lazy_at_start is None:
                name = f"[{area.start:#x}, {area.end:#x})"
                what = f"overlaps the lazy area {name}, and no purge has run since it was freed"
                self._early.append(Violation(index, event, what))
            elif fault := self._reuse(area, start, end, nodes):
                if area.state == "busy" and area.start not in self._unreported:
                    self._unreported[area.start] = Violation(index, event, fault)
                else:
                    faults.append(fault)
            self._forget(area)
        owner = event.where.cpu % self.rules.nodes if nodes else None
        self._areas[start] = _Area(start, end, owner, "busy")
        insort(self._starts, start)
        return faults

    def _nodes_of(self, event: Allocated) -> set[int]:
        """Return the nodes that may have served it, as the task may have moved between CPUs."""
        rules = self.rules
        if rules.nodes == 1 or (event.start, event.end) != (rules.vmalloc_start, rules.vmalloc_end):
            return set()
        before = self._last_cpu.get(event.where.pid, event.where.cpu)
        return {event.where.cpu % rules.nodes, before % rules.nodes}

    def _reuse(self, area: _Area, start: int, end: int, nodes: set[int]) -> str | None:
        """Return what is wrong with reusing `area` for [start, end), or None."""
        exact = (area.start, area.end) == (start, end)
        name = f"[{area.start:#x}, {area.end:#x})"
        if area.state == "busy":
            # Another CPU may report its free after its purge and this allocation.
            if not exact or self._lazy_at_start is None:
                return f"overlaps the busy area {name}"
            self._late_frees[start] += 1
            return None
        if area.state == "lazy":  # taken by the current purge
            return None
        limit = self.rules.pool_limit_pages * self.rules.page_size
        pooled = area.owner is not None and area.end - area.start <= limit
        if not pooled or (exact and area.owner in nodes):
            return None
        self._decayed[area.pool] -= 1
        if self._decayed[area.pool] < 0:
            return f"takes {name} of the pool of node {area.owner}, from which fewer areas decayed"
        return None

    def _freed(self, event: Freed) -> list[str]:
        if self._late_frees[event.address]:
            self._late_frees[event.address] -= 1
            return []
        late = self._purges_at_free.get(event.where.pid, 0) < self._purges
        self._purges_at_free[event.where.pid] = self._purges
        if late and event.address in self._unreported:
            del self._unreported[event.address]
            return []
        area = self._areas.get(event.address)
        if area is None or area.state != "busy":
            return [f"frees {event.address:#x}, which is not busy"]
        if late:  # the last purge may have taken it
            self._return(area)
        else:
            area.state = "lazy"
            self._lazy.append(area)
        return []

    def _purge_started(self) -> None:
        for pool, length in self._returned.items():
            # The pool may be shorter, as areas that decayed before and are still unused count here;
            # one of up to three areas decays completely, unless small pools are spared.
            small = 0 if self.rules.spares_small_pools else min(length, 3)
            self._decayed[pool] += max(length // 4, small)
        self._lazy = [area for area in self._lazy if area.state == "lazy"]
        self._lazy_at_start = len(self._lazy)

    def _purged(self, event: Purged) -> list[str]:
        if self._lazy_at_start is None:
            # Not in a work item (a module's memory is freed): only its end is reported, and another
            # CPU may have used areas that it had already returned.
            self._early = []
            self._purge_started()
        waiting = self._lazy_at_start or 0
        faults = []
        if event.areas < waiting:
            faults.append(f"the purge took {event.areas} areas, but {waiting} were lazy before it")
        for area in self._lazy:
            if area.state == "lazy":
                self._return(area)
        self._lazy, self._lazy_at_start = [], None
        self._purges += 1
        return faults

    def _return(self, area: _Area) -> None:
        area.state = "returned"
        self._returned[area.pool] += 1

    def _overlapping(self, start: int, end: int) -> list[_Area]:
        first = max(bisect_right(self._starts, start) - 1, 0)
        last = bisect_left(self._starts, end)
        areas = (self._areas[key] for key in self._starts[first:last])
        return [area for area in areas if area.start < end and start < area.end]

    def _forget(self, area: _Area) -> None:
        if area.state == "returned":
            self._returned[area.pool] -= 1
        area.state = "gone"
        del self._areas[area.start]
        del self._starts[bisect_left(self._starts, area.start)]
