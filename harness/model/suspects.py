"""Possible defects of a kernel, each a variant of the specification with one rule changed.

If a trace diverges, it is replayed on every variant. One that predicts the whole trace explains the
defect; otherwise the one that predicts most of it is a hint.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from harness.model.allocator import Allocator, Purge, Rules, VmapArea, VmapNode
from harness.model.replay import Replay
from harness.model.trace import Event

Make = Callable[[Rules], Allocator]
"""Returns a new allocator with the rules of the traced kernel."""


class _AddressNode(Allocator):
    def lazy_node(self, area: VmapArea) -> VmapNode:
        return self.node_of(area.start)


class _NextNode(Allocator):
    def lazy_node(self, area: VmapArea) -> VmapNode:
        right = super().lazy_node(area)
        return self.nodes[(right.index + 1) % len(self.nodes)]


class _LosesFirst(Allocator):
    lost = 0

    def purge_node(self, purge: Purge, index: int) -> None:
        area = purge.detached[index].pop(self.lost)
        self.lazy_pages -= self.pages(area)
        purge.purged_areas += 1
        super().purge_node(purge, index)


class _LosesLast(_LosesFirst):
    lost = -1


class _UnalignedSpace(Allocator):
    def find_free(self, size: int, alignment: int, start: int, end: int) -> int | None:
        del alignment
        return super().find_free(size, 1, start, end)


class _UnalignedPools(Allocator):
    def take_from_pool(self, node: VmapNode, size: int, alignment: int) -> VmapArea | None:
        del alignment
        return super().take_from_pool(node, size, 1)


class _Unaligned(_UnalignedSpace, _UnalignedPools):
    pass


class _HighestFit(Allocator):
    def find_free(self, size: int, alignment: int, start: int, end: int) -> int | None:
        for area in reversed(list(self.space)):
            address = (min(area.end, end) - size) & -alignment
            if address >= max(area.start, start):
                self.space.take(address, address + size)
                return address
        return None


class _OldestFirst(Allocator):
    def add_to_pool(self, node: VmapNode, area: VmapArea) -> bool:
        added = super().add_to_pool(node, area)
        if added:
            node.pools[self.pages(area)].rotate(-1)
        return added


def _changed(**changes: float) -> Make:
    return lambda rules: Allocator(replace(rules, **changes))  # type: ignore[arg-type]


def _other_decay(rules: Rules) -> Allocator:
    return Allocator(replace(rules, spares_small_pools=not rules.spares_small_pools))


SUSPECTS: dict[str, Make] = {
    "wrong node on free: the address's instead of the allocating one": _AddressNode,
    "wrong node on free: one too far": _NextNode,
    "decay of 50 % instead of 25 %": _changed(decay=0.5),
    "decay of 100 % instead of 25 %": _changed(decay=1.0),
    "no decay": _changed(decay=0.0),
    "decay of small pools by the other rule: all in 6.12, none since 6.19": _other_decay,
    "pool limit off by one: 255 pages instead of 256": _changed(pool_limit_pages=255),
    "pool limit off by one: 257 pages instead of 256": _changed(pool_limit_pages=257),
    "lost area on purge: the first of each node": _LosesFirst,
    "lost area on purge: the last of each node": _LosesLast,
    "ignored alignment": _Unaligned,
    "ignored alignment in the free space": _UnalignedSpace,
    "ignored alignment in the pools": _UnalignedPools,
    "highest fit instead of lowest": _HighestFit,
    "pools used oldest first": _OldestFirst,
}


@dataclass(frozen=True)
class Explanation:
    """A suspected defect, whose variant predicts `events` of `total` events."""

    name: str
    events: int
    total: int

    @property
    def complete(self) -> bool:
        """Whether it explains the whole trace."""
        return self.events == self.total


def explain(
    events: Sequence[Event],
    rules: Rules,
    chunk_bytes: int = 0,
    suspects: Iterable[tuple[str, Make]] = tuple(SUSPECTS.items()),
) -> list[Explanation]:
    """Return the suspects that predict more of `events` than the specification, best first.

    `rules`, `chunk_bytes`: of the traced kernel.
    """

    def predicted(make: Make) -> int:
        try:
            result = Replay(make(rules), chunk_bytes).run(events)
        except (ValueError, IndexError, KeyError):
            return 0  # the variant failed, so this defect cannot be the cause
        return len(events) if result.divergence is None else result.divergence.index

    baseline = predicted(Allocator)
    found = [Explanation(name, predicted(make), len(events)) for name, make in suspects]
    better = [explanation for explanation in found if explanation.events > baseline]
    return sorted(better, key=lambda explanation: -explanation.events)
