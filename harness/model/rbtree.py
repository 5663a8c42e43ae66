"""The kernel's augmented red-black tree of free areas, rotation by rotation.

A search with an alignment above one page pads the length by it and descends by the largest free
area below each link (`find_vmap_lowest_match`, mm/vmalloc.c). An area that is shorter than the
padded length but happens to be aligned is found only on the path of the descent. The address thus
depends on the *shape* of the tree, and a model that predicts addresses must rotate exactly as
lib/rbtree.c (`__rb_insert`, `__rb_erase_augmented`, `____rb_erase_color`).

Where the kernel has mirrored code for the left and the right side, the side is an argument here.
"""

LEFT, RIGHT = 0, 1


class FreeArea:
    """A free range [start, end) of the vmap space; node of the tree and of the sorted list."""

    __slots__ = ("child", "end", "largest", "next", "parent", "previous", "red", "start")

    def __init__(self, start: int, end: int):
        """Create an unlinked node."""
        self.start, self.end = start, end
        self.child: list[FreeArea | None] = [None, None]
        self.parent: FreeArea | None = None
        self.red = True
        self.largest = end - start
        """The largest size in this subtree, in bytes (`subtree_max_size`)."""
        self.previous: FreeArea | None = None
        self.next: FreeArea | None = None

    def __repr__(self) -> str:
        return f"[{self.start:#x}, {self.end:#x})"


def propagate(area: FreeArea | None) -> None:
    """Recompute `largest` of `area` and its ancestors, until one does not change."""
    while area is not None:
        largest = area.end - area.start
        left, right = area.child
        if left is not None and left.largest > largest:
            largest = left.largest
        if right is not None and right.largest > largest:
            largest = right.largest
        if area.largest == largest:
            return
        area.largest = largest
        area = area.parent


def _recompute(area: FreeArea) -> None:
    largest = area.end - area.start
    for child in area.child:
        if child is not None and child.largest > largest:
            largest = child.largest
    area.largest = largest


class Tree:
    """A red-black tree ordered by address. Treat `root` as read-only."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        """Create an empty tree."""
        self.root: FreeArea | None = None

    def insert(self, area: FreeArea, parent: FreeArea | None, side: int) -> None:
        """Insert `area` as the missing `side` child of `parent`, and rebalance."""
        area.child[:] = None, None
        area.parent, area.red = parent, True
        area.largest = 0
        if parent is None:
            self.root = area
        else:
            parent.child[side] = area
        self._rebalance_after_insert(area)
        propagate(area)

    def erase(self, area: FreeArea) -> None:
        """Remove `area` and rebalance."""
        left, right = area.child
        if left is None or right is None:
            lower, deficit = area.parent, self._splice_out(area, right if left is None else left)
        else:
            lower, deficit = self._replace_by_successor(area, left, right)
        propagate(lower)
        if deficit is not None:
            self._rebalance_after_erase(deficit)

    def _splice_out(self, area: FreeArea, only: FreeArea | None) -> FreeArea | None:
        """Replace `area` by its `only` child; return the parent that now lacks a black node."""
        parent = area.parent
        self._change_child(area, only, parent)
        if only is not None:
            only.parent, only.red = parent, area.red
            return None
        return None if area.red else parent

    def _replace_by_successor(
        self, area: FreeArea, left: FreeArea, right: FreeArea
    ) -> tuple[FreeArea, FreeArea | None]:
        """Replace `area`; return where to propagate from, and the parent lacking a black node."""
        successor = right
        if right.child[LEFT] is None:
            parent = successor
            orphan = successor.child[RIGHT]
            successor.largest = area.largest
        else:
            while (lower := successor.child[LEFT]) is not None:
                parent, successor = successor, lower
            orphan = successor.child[RIGHT]
            parent.child[LEFT] = orphan
            successor.child[RIGHT] = right
            right.parent = successor
            successor.largest = area.largest
            _propagate_below(parent, successor)
        successor.child[LEFT] = left
        left.parent = successor
        self._change_child(area, successor, area.parent)
        deficit = None
        if orphan is not None:
            orphan.parent, orphan.red = parent, False
        elif not successor.red:
            deficit = parent
        successor.parent, successor.red = area.parent, area.red
        return successor, deficit

    def _change_child(self, old: FreeArea, new: FreeArea | None, parent: FreeArea | None) -> None:
        if parent is None:
            self.root = new
        else:
            parent.child[LEFT if parent.child[LEFT] is old else RIGHT] = new

    def _rotate(self, upper: FreeArea, side: int) -> FreeArea:
        """Rotate `upper` down to `side`; return its other child, which replaces it."""
        other = 1 - side
        riser = upper.child[other]
        assert riser is not None
        moved = riser.child[side]
        upper.child[other] = moved
        if moved is not None:
            moved.parent = upper
        riser.child[side] = upper
        self._change_child(upper, riser, upper.parent)
        riser.parent, upper.parent = upper.parent, riser
        riser.largest = upper.largest
        _recompute(upper)
        return riser

    def _rebalance_after_insert(self, node: FreeArea) -> None:
        while True:
            parent = node.parent
            if parent is None:
                node.red = False
                return
            if not parent.red:
                return
            grandparent = parent.parent
            assert grandparent is not None  # a red node is never the root
            side = LEFT if grandparent.child[LEFT] is parent else RIGHT
            uncle = grandparent.child[1 - side]
            if uncle is not None and uncle.red:  # case 1: flip the colours, continue above
                uncle.red = parent.red = False
                grandparent.red = True
                node = grandparent
                continue
            if parent.child[1 - side] is node:  # case 2: rotate into case 3
                parent = self._rotate(parent, side)
            self._rotate(grandparent, 1 - side)  # case 3
            parent.red, grandparent.red = False, True
            return

    def _rebalance_after_erase(self, parent: FreeArea) -> None:
        """Rebalance `parent`, below which one side lacks a black node."""
        node: FreeArea | None = None
        while True:
            side = LEFT if parent.child[RIGHT] is not node else RIGHT
            other = 1 - side
            sibling = parent.child[other]
            assert sibling is not None  # the sibling's side has at least one more black node
            if sibling.red:  # case 1
                self._rotate(parent, side)
                sibling.red, parent.red = False, True
                sibling = parent.child[other]
                assert sibling is not None
            far, near = sibling.child[other], sibling.child[side]
            if far is None or not far.red:
                if near is None or not near.red:  # case 2: flip, rebalance here or continue above
                    sibling.red = True
                    if parent.red:
                        parent.red = False
                        return
                    node = parent
                    if node.parent is None:
                        return
                    parent = node.parent
                    continue
                far, sibling = sibling, self._rotate(sibling, other)  # case 3
            self._rotate(parent, side)  # case 4
            sibling.red, parent.red, far.red = parent.red, False, False
            return


def _propagate_below(area: FreeArea | None, stop: FreeArea) -> None:
    """Propagate, but not beyond `stop`, whose children are not linked yet."""
    while area is not None and area is not stop:
        before = area.largest
        _recompute(area)
        if area.largest == before:
            return
        area = area.parent
