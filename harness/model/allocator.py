"""The vmap allocator as an executable specification: read it to learn the design.

An allocation of virtual address space goes through three places:

    pool of this CPU's node ──miss──> global free space          (busy: in use)
            ^                               ^
            │ populate                      │ merge              (lazy: freed, still in some TLB)
            └───────────── purge ───────────┘

Freeing only moves an area to a *lazy* set. When `lazy_max_pages` have gathered, one *purge* flushes
every TLB once and disposes of all lazy areas: into the pools of the nodes that allocated them, or
back into the global free space. Pools are what "Mitigate a vmap lock contention" (v3, 2 January
2024; Linux 6.9) added: a pool hit takes no global lock. With one node there are no pools, which is
the allocator as it was before.

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
    """Return how many areas a pool of `length` loses in one purge, see `Rules`."""
    everything = length if decay and not spares_small_pools else 0
    return int(length * decay) or everything


@dataclass(frozen=True)
class Rules:
    """The design's constants, so that a what-if changes one of them.

    `spares_small_pools`: a pool too small for a quarter of it to be an area loses none in a purge,
    as since Linux 6.19; before, it lost all. `merge_lazy`: freed neighbours merge while still lazy,
    as before vmap nodes (Linux 6.1).
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
        """`node` is None for areas that no pool may take (outside vmalloc, or a single node)."""
        self.start, self.end, self.node = start, end, node

    def __repr__(self) -> str:
        owner = "" if self.node is None else f" of node {self.node}"
        return f"[{self.start:#x}, {self.end:#x}){owner}"


class VmapNode:
    """One `struct vmap_node`: its busy areas (by address), lazy areas, and pools (by pages)."""

    __slots__ = ("busy", "index", "lazy", "lazy_ends", "pools")

    def __init__(self, index: int):
        """Empty."""
        self.index = index
        self.busy: dict[int, VmapArea] = {}
        self.lazy: dict[int, VmapArea] = {}
        self.lazy_ends: dict[int, VmapArea] = {}  # kept for `merge_lazy` only
        self.pools: dict[int, deque[VmapArea]] = {}


@dataclass
class Purge:
    """A purge under way: detached lazy areas by node, ascending; what the kernel reports of it.

    `inline` is worked off by the purging task itself, then `helpers` by work items.
    """

    start: int
    end: int
    full_decay: bool
    inline: list[int] = field(default_factory=list)
    helpers: list[int] = field(default_factory=list)
    detached: dict[int, list[VmapArea]] = field(default_factory=dict)
    purged_areas: int = 0

    def order(self) -> Iterator[int]:
        """Yield the nodes as one CPU works them off."""
        yield from self.inline
        yield from self.helpers


class Allocator:
    """The whole vmap space. Every method is one kernel function, named in its docstring."""

    def __init__(self, rules: Rules | None = None, space: FreeSpace | None = None):
        """`space`: the free space to start from; by default all addresses but the first byte."""
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
        """`addr_to_node`: "node of an address = (address / zone size) mod number of nodes"."""
        return self.nodes[address // self._zone_bytes % len(self.nodes)]

    def allocate(
        self, size: int, alignment: int = 1, cpu: int = 0, start: int | None = None, end: int = 0
    ) -> VmapArea | None:
        """`alloc_vmap_area`: pool of this CPU's node first, else the lowest fit of the free space.

        Without `start` and `end` the range is all of vmalloc space. Returns None when nothing fits;
        the kernel then purges with a full decay and tries once more.
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
            # Even so it is marked with the node, and will fill that node's pool ("populated on
            # demand"): `va->flags = va_flags | vn_id`.
            area = VmapArea(address, address + size, owner)
        self.node_of(area.start).busy[area.start] = area
        return area

    def find_free(self, size: int, alignment: int, start: int, end: int) -> int | None:
        """`__alloc_vmap_area`, under `free_vmap_area_lock`."""
        return self.space.allocate(size, alignment, start, end)

    def take_from_pool(self, node: VmapNode, size: int, alignment: int) -> VmapArea | None:
        """`node_pool_del_va`: the newest area of exactly this size, or nothing.

        Only that one is looked at: when it is not aligned it moves to the end of the list.
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
        """`free_vmap_area_noflush`: from busy to lazy, in the node that allocated the area.

        Returns the area; `purge_due` tells whether the kernel would now schedule a purge.
        Raises KeyError when no busy area starts at `address`.
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
        """Return the node whose lazy set takes `area`: its allocator's, else its address's."""
        return self.node_of(area.start) if area.node is None else self.nodes[area.node]

    @property
    def purge_due(self) -> bool:
        """`lazy_max_pages`: "purge starts when lazily freed pages pass" it."""
        return self.lazy_pages > self.rules.lazy_max_pages

    def purge(self, full_decay: bool = False) -> Purge:
        """`__purge_vmap_area_lazy` from start to end, as one CPU runs it."""
        purge = self.start_purge(full_decay)
        for index in purge.order():
            self.purge_node(purge, index)
        return purge

    def start_purge(self, full_decay: bool = False) -> Purge:
        """Decay every node's pools, then detach its lazy areas; share the nodes out to helpers.

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
        """`decay_va_pool_node`: give a quarter of each pool (or all) back to the free space.

        `vmap_node_shrink_scan` does it with all of every node's under memory pressure.

        A quarter of up to three areas rounds to 0. Linux 6.12 counts down from there before it
        compares, so that such a pool loses all of them; later kernels compare first.
        """
        decayed: list[VmapArea] = []
        for pages in sorted(node.pools):
            pool = node.pools[pages]
            count = len(pool) if full else self.decay_count(len(pool))
            decayed += [pool.popleft() for _ in range(count)]
        self.reclaim(_coalesce(decayed))

    def decay_count(self, length: int) -> int:
        """Return how many areas a pool of `length` loses in one purge."""
        return decay_count(length, self.rules.decay, self.rules.spares_small_pools)

    def purge_node(self, purge: Purge, index: int) -> None:
        """`purge_vmap_node`: fill this node's pools, and return the rest to the free space."""
        node, rest = self.nodes[index], []
        for area in purge.detached.pop(index):
            self.lazy_pages -= self.pages(area)
            purge.purged_areas += 1
            if purge.full_decay or not self.add_to_pool(node, area):
                rest.append(area)
        if not self.rules.merge_lazy:
            rest.reverse()  # list_add() puts each in front of the one before
        self.reclaim(rest)

    def add_to_pool(self, node: VmapNode, area: VmapArea) -> bool:
        """`node_pool_add_va`: "segregated by size, up to 256 pages"; newest in front."""
        pages = self.pages(area)
        if area.node is None or pages > self.rules.pool_limit_pages:
            return False
        node.pools.setdefault(pages, deque()).appendleft(area)
        return True

    def reclaim(self, areas: Iterable[VmapArea]) -> None:
        """`reclaim_list_global`: merge into the free space in this order, under its lock."""
        for area in areas:
            self.space.release(area.start, area.end)

    def areas(self) -> Iterator[tuple[str, VmapArea]]:
        """Yield everything that is not free, with its state: busy, lazy or pooled."""
        for node in self.nodes:
            yield from (("busy", area) for area in node.busy.values())
            yield from (("lazy", area) for area in node.lazy.values())
            for pool in node.pools.values():
                yield from (("pooled", area) for area in pool)


def _merge_lazy(node: VmapNode, area: VmapArea) -> None:
    """`merge_or_add_vmap_area` into the lazy tree of kernels before vmap nodes."""
    start, end = area.start, area.end
    if (after := node.lazy.pop(end, None)) is not None:
        end = after.end
    if (before := node.lazy_ends.pop(start, None)) is not None:
        start = before.start
    merged = VmapArea(start, end, None)
    node.lazy[start] = node.lazy_ends[end] = merged


def _coalesce(areas: list[VmapArea]) -> list[VmapArea]:
    """Return `areas` ascending, neighbours merged (`merge_or_add_vmap_area` into `decay_root`)."""
    merged: list[VmapArea] = []
    for area in sorted(areas, key=lambda area: area.start):
        if merged and merged[-1].end == area.start:
            merged[-1] = VmapArea(merged[-1].start, area.end, None)
        else:
            merged.append(area)
    return merged
