"""The free space against a plain list of areas, and against brute force."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.model.free_space import PAGE_SIZE, FreeSpace, align_up
from harness.model.invariants import check_free_space

PAGES = 512
ALIGNMENTS = [1, 8, PAGE_SIZE, 2 * PAGE_SIZE, 16 * PAGE_SIZE, 128 * PAGE_SIZE]


class FreeSpaceMachine(RuleBasedStateMachine):
    """Takes and releases at random; a bitmap of pages is the second opinion."""

    def __init__(self):
        super().__init__()
        self.space = FreeSpace(0, PAGES * PAGE_SIZE)
        self.free = [True] * PAGES
        self.taken = []

    @rule(
        pages=st.integers(1, 24),
        alignment=st.sampled_from(ALIGNMENTS),
        window=st.sampled_from([(0, PAGES), (0, 100), (37, PAGES), (200, 300)]),
    )
    def allocate(self, pages, alignment, window):
        start, end = window
        address = self.space.allocate(
            pages * PAGE_SIZE, alignment, start * PAGE_SIZE, end * PAGE_SIZE
        )
        if address is None:
            return
        first = address // PAGE_SIZE
        assert address % alignment == 0
        assert start <= first
        assert first + pages <= end
        assert all(self.free[first : first + pages])
        if alignment <= PAGE_SIZE:
            assert first == self.lowest(pages, start)
        self.mark(first, pages, False)
        self.taken.append((first, pages))

    @rule(first=st.integers(0, PAGES - 9), pages=st.integers(1, 8))
    def take(self, first, pages):
        expected = all(self.free[first : first + pages])
        assert self.space.take(first * PAGE_SIZE, (first + pages) * PAGE_SIZE) is expected
        if expected:
            self.mark(first, pages, False)
            self.taken.append((first, pages))

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def release(self, data):
        first, pages = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        self.space.release(first * PAGE_SIZE, (first + pages) * PAGE_SIZE)
        self.mark(first, pages, True)

    def mark(self, first, pages, free):
        self.free[first : first + pages] = [free] * pages

    def lowest(self, pages, start):
        return next(first for first in range(start, PAGES) if all(self.free[first : first + pages]))

    @invariant()
    def consistent(self):
        assert check_free_space(self.space) == []
        in_space = {
            page for area in self.space for page in range(area.start // 4096, area.end // 4096)
        }
        assert in_space == {page for page, free in enumerate(self.free) if free}


TestFreeSpaceMachine = FreeSpaceMachine.TestCase
TestFreeSpaceMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(st.integers(0, 2**40), st.integers(0, 30))
def test_align_up_is_the_next_multiple(address, shift):
    aligned = align_up(address, 1 << shift)
    assert aligned % (1 << shift) == 0
    assert address <= aligned < address + (1 << shift)


def test_an_overlapping_release_is_refused():
    space = FreeSpace(0, 10 * PAGE_SIZE)
    space.allocate(PAGE_SIZE, 1, 0, 10 * PAGE_SIZE)
    with pytest.raises(ValueError, match="overlaps"):
        space.release(0, 2 * PAGE_SIZE)
