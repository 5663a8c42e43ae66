"""The global free vmap space: a tree and a sorted list of free areas, with lowest-fit allocation.

In the kernel `free_vmap_area_lock` protects it, which every allocation took before vmap nodes.
Addresses and sizes are bytes. Source: mm/vmalloc.c, in the functions named below.
"""

from collections.abc import Iterator

from harness.model.rbtree import LEFT, RIGHT, FreeArea, Tree, propagate
from harness.spec.architecture import PAGE_SIZE


def align_up(address: int, alignment: int) -> int:
    """Return the first multiple of `alignment` (a power of two) at or above `address`."""
    return (address + alignment - 1) & -alignment


class FreeSpace:
    """Disjoint free areas, of which adjacent ones are merged at once."""

    __slots__ = ("first", "page_size", "tree")

    def __init__(self, start: int, end: int, page_size: int = PAGE_SIZE):
        """Start with a single free area [start, end), as `vmap_init_free_space`."""
        self.page_size = page_size
        self.tree = Tree()
        self.first: FreeArea | None = None
        self.release(start, end)

    def __iter__(self) -> Iterator[FreeArea]:
        """Yield the areas in ascending order."""
        area = self.first
        while area is not None:
            yield area
            area = area.next

    def allocate(self, size: int, alignment: int, start: int, end: int) -> int | None:
        """Allocate `size` bytes within [start, end); return the address, None if nothing fits.

        As `__alloc_vmap_area`: the search length is padded for the worst case of the alignment,
        unless that has no effect (one page) or would make an exact request fail.
        """
        padded = alignment > self.page_size and end - start != size
        length = size + alignment - 1 if padded else size
        area = self._find(size, length, alignment, start)
        if area is None:
            return None
        address = align_up(max(area.start, start), alignment)
        if address + size > end:
            return None
        self._clip(area, address, address + size)
        return address

    def take(self, start: int, end: int) -> bool:
        """Allocate exactly [start, end); return False if it is not free.

        For areas that the kernel places otherwise (`pcpu_get_vm_areas` searches from the top).
        """
        area = self.tree.root
        while area is not None:
            if end <= area.start:
                area = area.child[LEFT]
            elif start >= area.end:
                area = area.child[RIGHT]
            elif area.start <= start and end <= area.end:
                self._clip(area, start, end)
                return True
            else:
                return False
        return False

    def release(self, start: int, end: int) -> None:
        """Free [start, end) and merge it with its neighbours (`merge_or_add_vmap_area_augment`)."""
        parent, side = self._link(start, end)
        if parent is None:
            before, after = None, None
        elif side == LEFT:
            before, after = parent.previous, parent
        else:
            before, after = parent, parent.next
        if after is not None and after.start == end:
            after.start = start
            if before is not None and before.end == start:
                self._unlink(after)
                before.end = after.end
                after = before
            propagate(after)
        elif before is not None and before.end == start:
            before.end = end
            propagate(before)
        else:
            self._insert(FreeArea(start, end), before, after, parent, side)

    def _find(self, size: int, length: int, alignment: int, start: int) -> FreeArea | None:
        """Return the lowest free area that fits, or None (`find_vmap_lowest_match`)."""
        area = self.tree.root
        while area is not None:
            left, right = area.child
            if left is not None and left.largest >= length and start < area.start:
                area = left
                continue
            if _fits(area, size, alignment, start):
                return area
            if right is not None and right.largest >= length:
                area = right
                continue
            while (area := area.parent) is not None:
                if _fits(area, size, alignment, start):
                    return area
                right = area.child[RIGHT]
                if right is not None and right.largest >= length and start <= area.start:
                    start = area.start + 1  # do not descend to the left again
                    area = right
                    break
        return None

    def _clip(self, area: FreeArea, start: int, end: int) -> None:
        """Remove [start, end) from `area`, which shrinks, splits or disappears (`va_clip`)."""
        if area.start == start:
            if area.end == end:
                self._unlink(area)
                return
            area.start = end
        elif area.end == end:
            area.end = start
        else:
            lower = FreeArea(area.start, start)
            area.start = end
            propagate(area)
            parent, side = self._link(lower.start, lower.end, area)
            self._insert(lower, area.previous, area, parent, side)
            return
        propagate(area)

    def _link(
        self, start: int, end: int, below: FreeArea | None = None
    ) -> tuple[FreeArea | None, int]:
        """Return parent and side at which to insert [start, end) (`find_va_links`)."""
        area, parent, side = below or self.tree.root, None, LEFT
        while area is not None:
            parent = area
            if end <= area.start:
                side = LEFT
            elif start >= area.end:
                side = RIGHT
            else:
                raise ValueError(f"[{start:#x}, {end:#x}) overlaps the free area {area}")
            area = area.child[side]
        return parent, side

    def _insert(
        self,
        area: FreeArea,
        before: FreeArea | None,
        after: FreeArea | None,
        parent: FreeArea | None,
        side: int,
    ) -> None:
        area.previous, area.next = before, after
        if before is None:
            self.first = area
        else:
            before.next = area
        if after is not None:
            after.previous = area
        self.tree.insert(area, parent, side)

    def _unlink(self, area: FreeArea) -> None:
        if area.previous is None:
            self.first = area.next
        else:
            area.previous.next = area.next
        if area.next is not None:
            area.next.previous = area.previous
        self.tree.erase(area)


def _fits(area: FreeArea, size: int, alignment: int, start: int) -> bool:
    """Return whether an aligned range of `size` at or above `start` fits (`is_within_this_va`)."""
    address = (max(area.start, start) + alignment - 1) & -alignment
    return address + size <= area.end
