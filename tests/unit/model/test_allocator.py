"""The allocator's rules, one by one and at random."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.model.allocator import Allocator, Rules
from harness.model.free_space import PAGE_SIZE
from harness.model.invariants import check_allocator
from harness.testmod.cases import lazy_max_pages


class AllocatorMachine(RuleBasedStateMachine):
    @initialize(nodes=st.sampled_from([1, 2, 3, 8]), merge=st.booleans())
    def boot(self, nodes, merge):
        self.allocator = Allocator(Rules(nodes, lazy_max_pages=64, merge_lazy=merge and nodes == 1))
        self.busy = []

    @rule(
        pages=st.one_of(st.integers(1, 8), st.integers(254, 258)),
        alignment=st.sampled_from([1, PAGE_SIZE, 4 * PAGE_SIZE, 64 * PAGE_SIZE]),
        cpu=st.integers(0, 15),
        outside=st.booleans(),
    )
    def allocate(self, pages, alignment, cpu, outside):
        window = {"start": 2**47, "end": 2**47 + 2**31} if outside else {}
        area = self.allocator.allocate(pages * PAGE_SIZE, alignment, cpu, **window)
        assert area is not None
        assert area.start % alignment == 0
        assert self.allocator.pages(area) == pages
        nodes = self.allocator.rules.nodes
        assert area.node == (None if outside or nodes == 1 else cpu % nodes)
        self.busy.append(area)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def free(self, data):
        area = self.busy.pop(data.draw(st.integers(0, len(self.busy) - 1)))
        before = self.allocator.lazy_pages
        assert self.allocator.free(area.start) is area
        assert self.allocator.lazy_pages == before + self.allocator.pages(area)

    @rule(full=st.booleans())
    def purge(self, full):
        self.allocator.purge(full)
        assert self.allocator.lazy_pages == 0

    @rule()
    def shrink(self):
        for node in self.allocator.nodes:
            self.allocator.decay(node, full=True)
        assert not any(state == "pooled" for state, _ in self.allocator.areas())

    @invariant()
    def consistent(self):
        assert check_allocator(self.allocator) == []

    def teardown(self):
        if not hasattr(self, "allocator"):
            return
        for area in self.busy:
            self.allocator.free(area.start)
        self.allocator.purge(full_decay=True)
        assert [(area.start, area.end) for area in self.allocator.space] == [(1, 2**64 - 1)]


TestAllocatorMachine = AllocatorMachine.TestCase
TestAllocatorMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def freed(allocator, count, pages=2, cpu=0):
    areas = [allocator.allocate(pages * PAGE_SIZE, cpu=cpu) for _ in range(count)]
    for area in areas:
        allocator.free(area.start)
    return [area.start for area in areas]


@pytest.mark.parametrize(("cpus", "mib"), [(1, 32), (2, 64), (3, 64), (4, 96), (64, 224)])
def test_lazy_max_pages_grows_with_the_logarithm_of_the_cpus(cpus, mib):
    assert lazy_max_pages(cpus) * PAGE_SIZE == mib * 1024 * 1024


def test_freed_space_is_not_reused_before_a_purge():
    allocator = Allocator()
    (first,) = freed(allocator, 1)
    assert allocator.allocate(2 * PAGE_SIZE).start == first + 2 * PAGE_SIZE


def test_a_purge_is_due_only_beyond_the_limit():
    allocator = Allocator(Rules(lazy_max_pages=4))
    freed(allocator, 2)
    assert not allocator.purge_due
    freed(allocator, 1)
    assert allocator.purge_due


def test_a_purge_fills_the_pool_of_the_allocating_node_newest_first():
    allocator = Allocator(Rules(nodes=4))
    addresses = freed(allocator, 3, cpu=6)
    allocator.purge()
    assert [area.start for area in allocator.nodes[2].pools[2]] == addresses[::-1]
    assert allocator.allocate(2 * PAGE_SIZE, cpu=2).start == addresses[-1]
    assert allocator.allocate(2 * PAGE_SIZE, cpu=3).start not in addresses


def test_a_misaligned_head_of_a_pool_goes_to_its_end():
    allocator = Allocator(Rules(nodes=2))
    addresses = freed(allocator, 3)
    allocator.purge()
    wanted = 2**30  # none of them is aligned to this
    assert allocator.allocate(2 * PAGE_SIZE, wanted).start % wanted == 0
    assert [a.start for a in allocator.nodes[0].pools[2]] == [addresses[i] for i in (1, 0, 2)]


def test_a_single_node_keeps_no_pool():
    allocator = Allocator(Rules(nodes=1))
    addresses = freed(allocator, 3)
    allocator.purge()
    assert [state for state, _ in allocator.areas()] == []
    assert allocator.allocate(2 * PAGE_SIZE).start == addresses[0]


@pytest.mark.parametrize(("pages", "pooled"), [(256, 1), (257, 0)])
def test_pools_end_at_256_pages(pages, pooled):
    allocator = Allocator(Rules(nodes=2))
    freed(allocator, 1, pages)
    allocator.purge()
    assert len(allocator.nodes[0].pools.get(pages, ())) == pooled


@pytest.mark.parametrize(("length", "left"), [(100, 75), (8, 6), (4, 3), (3, 0), (1, 0)])
def test_a_purge_decays_pools_by_a_quarter_and_small_ones_wholly(length, left):
    allocator = Allocator(Rules(nodes=2))
    freed(allocator, length)
    allocator.purge()
    allocator.purge()
    assert len(allocator.nodes[0].pools[2]) == left


def test_a_full_decay_skips_the_pools():
    allocator = Allocator(Rules(nodes=2))
    freed(allocator, 10)
    allocator.purge(full_decay=True)
    assert [state for state, _ in allocator.areas()] == []


def test_helpers_take_the_first_nodes_when_much_is_lazy():
    allocator = Allocator(Rules(nodes=4, lazy_max_pages=4))
    for cpu in range(4):
        freed(allocator, 2, cpu=cpu)
    purge = allocator.start_purge()
    assert (purge.helpers, purge.inline) == ([0, 1, 2], [3])


def test_before_nodes_lazy_neighbours_merge():
    allocator = Allocator(Rules(merge_lazy=True))
    addresses = [allocator.allocate(2 * PAGE_SIZE).start for _ in range(3)]
    for index in (0, 2, 1):
        allocator.free(addresses[index])
    assert allocator.purge().purged_areas == 1


def test_nothing_fits_in_a_full_window():
    allocator = Allocator()
    assert allocator.allocate(2 * PAGE_SIZE, start=2**40, end=2**40 + PAGE_SIZE) is None


def test_an_unknown_address_cannot_be_freed():
    with pytest.raises(KeyError):
        Allocator().free(0x1000)
