"""Checks the invariants of the model, which hold after every step."""

from itertools import pairwise

from harness.model.allocator import Allocator
from harness.model.free_space import FreeSpace
from harness.model.rbtree import FreeArea


def check_free_space(space: FreeSpace) -> list[str]:
    """Return all violations in the order, the list, the red-black tree and its maxima."""
    areas = list(space)
    faults = [f"{area} is empty" for area in areas if area.start >= area.end]
    for low, high in pairwise(areas):
        if low.end >= high.start:
            faults.append(f"free areas {low} and {high} touch or overlap")
        if high.previous is not low:
            faults.append(f"the list is broken at {high}")
    in_tree: list[FreeArea] = []
    _check_subtree(space.tree.root, None, in_tree, faults)
    if [id(area) for area in in_tree] != [id(area) for area in areas]:
        faults.append("tree and list of the free space differ")
    return faults


def check_allocator(allocator: Allocator) -> list[str]:
    """Return all violations: of the free space, overlaps, lost space, wrong nodes or pools."""
    faults = check_free_space(allocator.space)
    everything = [(area.start, area.end, "free") for area in allocator.space]
    everything += [(area.start, area.end, state) for state, area in allocator.areas()]
    everything.sort()
    for (start, end, state), (start_2, _, state_2) in pairwise(everything):
        if end > start_2:
            faults.append(f"{state} area at {start:#x} overlaps the {state_2} area at {start_2:#x}")
        if end < start_2:
            faults.append(f"[{end:#x}, {start_2:#x}) is lost: not free, busy, lazy or pooled")
    return faults + _check_nodes(allocator)


def _check_nodes(allocator: Allocator) -> list[str]:
    faults = []
    lazy_pages = 0
    for node in allocator.nodes:
        for area in node.busy.values():
            if allocator.node_of(area.start) is not node:
                faults.append(f"busy area {area} is in the wrong node {node.index}")
        for area in node.lazy.values():
            lazy_pages += allocator.pages(area)
            if allocator.lazy_node(area) is not node:
                faults.append(f"lazy area {area} is in the wrong node {node.index}")
        for pages, pool in node.pools.items():
            if pages > allocator.rules.pool_limit_pages:
                faults.append(f"node {node.index} has a pool of {pages} pages")
            for area in pool:
                if allocator.pages(area) != pages or area.node != node.index:
                    faults.append(f"area {area} is in pool {pages} of node {node.index}")
    if lazy_pages != allocator.lazy_pages:
        faults.append(f"the count of lazy pages is {allocator.lazy_pages}, expected {lazy_pages}")
    return faults


def _check_subtree(
    area: FreeArea | None, parent: FreeArea | None, in_order: list[FreeArea], faults: list[str]
) -> tuple[int, int]:
    """Return black height and largest size of a subtree; append to `in_order` and `faults`."""
    if area is None:
        return 0, 0
    left_height, left_largest = _check_subtree(area.child[0], area, in_order, faults)
    in_order.append(area)
    right_height, right_largest = _check_subtree(area.child[1], area, in_order, faults)
    largest = max(left_largest, right_largest, area.end - area.start)
    if area.parent is not parent:
        faults.append(f"{area} has a wrong parent pointer")
    if area.red and (parent is None or parent.red):
        faults.append(f"{area} is red and the root, or has a red parent")
    if left_height != right_height:
        faults.append(f"black heights below {area} differ: {left_height}, {right_height}")
    if area.largest != largest:
        faults.append(f"{area} has {area.largest} as the largest size below, expected {largest}")
    return left_height + (not area.red), largest
