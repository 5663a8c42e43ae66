"""The vmap allocator of the kernel as an executable specification.

Virtual address space moves between these places:

    pool of this CPU's node ──miss──> global free space          (busy: in use)
            ^                               ^
            │ populate                      │ merge              (lazy: freed, still in some TLB)
            └───────────── purge ───────────┘

Freeing only moves an area to a *lazy* set. Once the sets have more than `lazy_max_pages`, a *purge*
flushes all TLBs once and moves all lazy areas to the pools of the nodes that allocated them, or
back to the global free space. The pools were added by "Mitigate a vmap lock contention" (v3, 2
January 2024; Linux 6.9); an allocation from a pool takes no global lock. With one node there are no
pools, as in the allocator before that series.

Addresses and sizes are bytes unless a name says pages. Sources: mm/vmalloc.c of Linux 6.12 by
function name, and the series' cover letter (message id 20240102184633.748113-1-urezki@gmail.com).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from harness.model.free_space import FreeSpace
from harness.spec.architecture import PAGE_SIZE, X86_64
from harness.testmod.cases import lazy_max_pages

VMALLOC_START, VMALLOC_END = X86_64.vmalloc


def decay_count(length: int, decay: float, spares_small_pools: bool) -> int:
    """Return how many areas a pool of `length` areas loses in a purge.

    `decay`, `spares_small_pools`: as in `Rules`.
    """
    everything = length if decay and not spares_small_pools else 0
    return int(length * decay) or everything


@dataclass(frozen=True)
class Rules:
    """The constants of the design.

    `spares_small_pools`: a pool of fewer than four areas loses none in a purge, as since Linux
    6.19; before, it lost all. `merge_lazy`: freed neighbours merge while they are lazy, as before
    vmap nodes (Linux 6.1).
    """

    nodes: int = 1  # "number of nodes = number of possible CPUs, at most 128"; 1: no pools
    lazy_max_pages: int = lazy_max_pages(1)
    zone_pages: int = 16  # "the vmap space is cut into zones of 16 pages"
    pool_limit_pages: int = 256  # MAX_VA_SIZE_PAGES: "up to 256 pages"
    decay: float = 0.25  # `n_decay = len >> 2`: "decay each pool by 25 %"
    spares_small_pools: bool = False
    merge_lazy: bool = False
    vmalloc_start: int = VMALLOC_START
    vmalloc_end: int = VMALLOC_END
    page_size: int = PAGE_SIZE  # bytes
    reserved: tuple[tuple[int, int], ...] = ()  # [start, end) in use before the first allocation


class VmapArea:
    """A range [start, end) in use, lazy or pooled; `node`: index of the node that allocated it."""

    __slots__ = ("end", "node", "start")

    def __init__(self, start: int, end: int, node: int | None):
        """`node`: None for areas that never enter a pool (outside vmalloc, or a single node)."""
        self.start, self.end, self.node = start, end, node

    def __repr__(self) -> str:
        owner = "" if self.node is None else f" of node {self.node}"
        return f"[{self.start:#x}, {self.end:#x}){owner}"


class VmapNode:
    """A `struct vmap_node`: its busy areas (by address), lazy areas, and pools (by pages)."""

    __slots__ = ("busy", "index", "lazy", "lazy_ends", "pools")

    def __init__(self, index: int):
        """Create a node without areas."""
        self.index = index
        self.busy: dict[int, VmapArea] = {}
        self.lazy: dict[int, VmapArea] = {}
        self.lazy_ends: dict[int, VmapArea] = {}  # for `merge_lazy` only
        self.pools: dict[int, deque[VmapArea]] = {}


@dataclass
class Purge:
    """A purge in progress. `start`, `end`, `purged_areas`: as in the kernel's event.

    `detached`: the lazy areas of each node, ascending. `inline`: nodes that the purging task
    processes itself; `helpers`: nodes that work items process.
    """

    start: int
    end: int
    full_decay: bool
    inline: list[int] = field(default_factory=list)
    helpers: list[int] = field(default_factory=list)
    detached: dict[int, list[VmapArea]] = field(default_factory=dict)
    purged_areas: int = 0

    def order(self) -> Iterator[int]:
        """Yield the nodes in the order in which a single CPU processes them."""
        yield from self.inline
        yield from self.helpers


class Allocator:
    """The vmap space. Methods correspond to the kernel functions named in their docstrings."""

    def __init__(self, rules: Rules | None = None, space: FreeSpace | None = None):
        """`space`: the initial free space; default: all addresses from 1."""
        self.rules = rules or Rules()
        self.space = space or FreeSpace(1, 2**64 - 1, self.rules.page_size)
        self.nodes = [VmapNode(index) for index in range(self.rules.nodes)]
        self.lazy_pages = 0
        self._page_size = self.rules.page_size
        self._zone_bytes = self.rules.zone_pages * self._page_size if self.rules.nodes > 1 else 1
        for start, end in self.rules.reserved:  # vmap_init_free_space()
            if self.space.take(start, end):
                self.node_of(start).busy[start] = VmapArea(start, end, None)

    def pages(self, area: VmapArea) -> int:
        """Return the size of an area in pages, guard page included."""
        return (area.end - area.start) // self._page_size

    def node_of(self, address: int) -> VmapNode:
        """Return the node of an address: (address / zone size) mod nodes (`addr_to_node`)."""
        return self.nodes[address // self._zone_bytes % len(self.nodes)]

    def allocate(
        self, size: int, alignment: int = 1, cpu: int = 0, start: int | None = None, end: int = 0
    ) -> VmapArea | None:
        """Allocate from the pool of the CPU's node, else at the lowest fit of the free space.

        As `alloc_vmap_area`. `start`, `end`: address range, default: the vmalloc space. Returns
        None if nothing fits; the kernel then purges with a full decay and tries once more.
        """
        rules = self.rules
        if start is None:
            start, end = rules.vmalloc_start, rules.vmalloc_end
        area = owner = None
        if len(self.nodes) > 1 and start == rules.vmalloc_start and end == rules.vmalloc_end:
            owner = cpu % len(self.nodes)  # "an allocation picks the node of the CPU it runs on"
            area = self.take_from_pool(self.nodes[owner], size, alignment)
        if area is None:
            address = self.find_free(size, alignment, start, end)
            if address is None:
                return None
            # The area is marked with the node all the same, and will later go to its pool
            # ("populated on demand"): `va->flags = va_flags | vn_id`.
            area = VmapArea(address, address + size, owner)
        self.node_of(area.start).busy[area.start] = area
        return area

    def find_free(self, size: int, alignment: int, start: int, end: int) -> int | None:
        """Return the address of the lowest fit, or None (`__alloc_vmap_area`)."""
        return self.space.allocate(size, alignment, start, end)

    def take_from_pool(self, node: VmapNode, size: int, alignment: int) -> VmapArea | None:
        """Take the newest area of this size from a pool, or return None (`node_pool_del_va`).

        Only that area is tried; if it is not aligned it moves to the end of the list.
        """
        pool = node.pools.get(size // self._page_size)
        if not pool:
            return None
        if pool[0].start & (alignment - 1):
            pool.rotate(-1)
            return None
        area = pool.popleft()
        area.node = node.index
        return area

    def free(self, address: int) -> VmapArea:
        """Make a busy area lazy, in the node that allocated it (`free_vmap_area_noflush`).

        Returns the area. The kernel then schedules a purge if `purge_due`. Raises KeyError if no
        busy area starts at `address`.
        """
        area = self.node_of(address).busy.pop(address)
        self.lazy_pages += self.pages(area)
        node = self.lazy_node(area)
        if self.rules.merge_lazy:
            _merge_lazy(node, area)
        else:
            node.lazy[area.start] = area
        return area

    def lazy_node(self, area: VmapArea) -> VmapNode:
        """Return the node whose lazy set `area` enters: its own, or else that of its address."""
        return self.node_of(area.start) if area.node is None else self.nodes[area.node]

    @property
    def purge_due(self) -> bool:
        """Whether more than `lazy_max_pages` pages are lazy, which starts a purge."""
        return self.lazy_pages > self.rules.lazy_max_pages

    def purge(self, full_decay: bool = False) -> Purge:
        """Run a whole purge, as on a single CPU (`__purge_vmap_area_lazy`)."""
        purge = self.start_purge(full_decay)
        for index in purge.order():
            self.purge_node(purge, index)
        return purge

    def start_purge(self, full_decay: bool = False) -> Purge:
        """Decay the pools and detach the lazy areas of all nodes; distribute them to helpers.

        "One extra worker is per a lazy_max_pages() full set minus one."
        """
        purge = Purge(2**64 - 1, 0, full_decay)
        for node in self.nodes:
            self.decay(node, full_decay)
            if node.lazy:
                areas = [node.lazy[start] for start in sorted(node.lazy)]
                node.lazy, node.lazy_ends = {}, {}
                purge.detached[node.index] = areas
                purge.start = min(purge.start, areas[0].start)
                purge.end = max(purge.end, areas[-1].end)
        nodes = list(purge.detached)
        helpers = max(1, min(self.lazy_pages // self.rules.lazy_max_pages, len(nodes))) - 1
        purge.helpers, purge.inline = nodes[:helpers], nodes[helpers:]
        return purge

    def decay(self, node: VmapNode, full: bool) -> None:
        """Return a quarter of each pool, or all with `full`, to the free space.

        As `decay_va_pool_node`; under memory pressure `vmap_node_shrink_scan` does so with all
        pools. A quarter of up to three areas rounds to 0. Linux 6.12 decrements before it compares,
        so that such a pool loses all areas; later kernels compare first.
        """
        decayed: list[VmapArea] = []
        for pages in sorted(node.pools):
            pool = node.pools[pages]
            count = len(pool) if full else self.decay_count(len(pool))
            decayed += [pool.popleft() for _ in range(count)]
        self.reclaim(_coalesce(decayed))

    def decay_count(self, length: int) -> int:
        """Return how many areas a pool of `length` areas loses in a purge."""
        return decay_count(length, self.rules.decay, self.rules.spares_small_pools)

    def purge_node(self, purge: Purge, index: int) -> None:
        """Move detached areas to a node's pools, the rest to the free space (`purge_vmap_node`)."""
        node, rest = self.nodes[index], []
        for area in purge.detached.pop(index):
            self.lazy_pages -= self.pages(area)
            purge.purged_areas += 1
            if purge.full_decay or not self.add_to_pool(node, area):
                rest.append(area)
        if not self.rules.merge_lazy:
            rest.reverse()  # list_add() adds at the head
        self.reclaim(rest)

    def add_to_pool(self, node: VmapNode, area: VmapArea) -> bool:
        """Add an area to the pool of its size; return False if it is too large for one.

        As `node_pool_add_va`: "segregated by size, up to 256 pages"; newest first.
        """
        pages = self.pages(area)
        if area.node is None or pages > self.rules.pool_limit_pages:
            return False
        node.pools.setdefault(pages, deque()).appendleft(area)
        return True

    def reclaim(self, areas: Iterable[VmapArea]) -> None:
        """Merge areas into the free space, in this order (`reclaim_list_global`)."""
        for area in areas:
            self.space.release(area.start, area.end)

    def areas(self) -> Iterator[tuple[str, VmapArea]]:
        """Yield (state, area) of all areas that are not free: "busy", "lazy" or "pooled"."""
        for node in self.nodes:
            yield from (("busy", area) for area in node.busy.values())
            yield from (("lazy", area) for area in node.lazy.values())
            for pool in node.pools.values():
                yield from (("pooled", area) for area in pool)


def _merge_lazy(node: VmapNode, area: VmapArea) -> None:
    """Merge an area into the lazy tree of kernels before vmap nodes (`merge_or_add_vmap_area`)."""
    start, end = area.start, area.end
    if (after := node.lazy.pop(end, None)) is not None:
        end = after.end
    if (before := node.lazy_ends.pop(start, None)) is not None:
        start = before.start
    merged = VmapArea(start, end, None)
    node.lazy[start] = node.lazy_ends[end] = merged


def _coalesce(areas: list[VmapArea]) -> list[VmapArea]:
    """Return `areas` ascending with neighbours merged, as `decay_root` does."""
    merged: list[VmapArea] = []
    for area in sorted(areas, key=lambda area: area.start):
        if merged and merged[-1].end == area.start:
            merged[-1] = VmapArea(merged[-1].start, area.end, None)
        else:
            merged.append(area)
    return merged
