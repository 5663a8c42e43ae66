"""The cases of lib/test_vmalloc.c, and what the harness knows about each.

The cases that a module has are read from its .modinfo (harness/testmod/modinfo.py). A case without
a row here can be measured if the playbook sets the memory of the guest, but has no prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.spec.architecture import PAGE_SIZE

_PCPU_BYTES = 512  # mean of random sizes up to a quarter page
_DEFERRED_PAGES = 16_384  # kvfree_rcu tests: upper bound of pages that wait for a grace period
_RANDOM_PAGES = 100  # random_size_alloc_test: upper bound


def lazy_max_pages(cpus: int, page_size: int = PAGE_SIZE) -> int:
    """Return the number of lazily freed pages that start a purge (lazy_max_pages, mm/vmalloc.c)."""
    return cpus.bit_length() * ((32 << 20) // page_size)


@dataclass(frozen=True)
class LoadSize:
    """The settings that determine how much memory a case holds."""

    cpus: int
    loops: int
    area_pages: int  # by nr_pages and use_huge
    pcpu_objects: int
    page_size: int = PAGE_SIZE  # bytes

    def kib(self, pages: int) -> int:
        """Return the size of `pages` pages in KiB."""
        return pages * self.page_size >> 10


def _one_area(size: LoadSize) -> int:
    return size.kib(max(_RANDOM_PAGES, size.area_pages))


def _deferred(size: LoadSize) -> int:
    return size.kib(min(size.loops, _DEFERRED_PAGES))


def _nothing(_: int) -> int:
    return 0


def _nothing_kib(_: LoadSize) -> int:
    return 0


@dataclass(frozen=True)
class Case:
    """A case of the module.

    `mask`: its bit of run_test_mask. `held_kib`: maximum memory of one worker in KiB. `areas`:
    sizes of its allocations in pages, with guard page, equally often; empty if the model does not
    support the case. `pairs`: allocations with their frees per loop; `prepared`: allocations before
    the first loop, by number of CPUs. `misaligned`: share of areas in a pool that lack the
    requested alignment. `may_fail`: its allocations fail on purpose; `checks_failure`: it handles
    failed allocations. `calibration_loops`: for `vmapbench calibrate`.
    """

    name: str
    mask: int
    held_kib: Callable[[LoadSize], int] = _one_area
    areas: tuple[int, ...] = ()
    pairs: int = 1
    prepared: Callable[[int], int] = _nothing
    misaligned: float = 0.0
    may_fail: bool = False
    checks_failure: bool = True
    calibration_loops: int = 0

    @property
    def short(self) -> str:
        """The name in tables and options: `fix_size` for `fix_size_alloc_test`."""
        return short_name(self.name)


def short_name(case: str) -> str:
    """Return `fix_size` for `fix_size_alloc_test`."""
    return case.removesuffix("_test").removesuffix("_alloc")


CASES: tuple[Case, ...] = (
    Case("fix_size_alloc_test", 1, areas=(2,), calibration_loops=20_000),
    Case(
        "full_fit_alloc_test",  # two arrays of lazy_max_pages() single pages
        2,
        lambda size: size.kib(2 * lazy_max_pages(size.cpus, size.page_size)),
        areas=(2,),
        prepared=lambda cpus: 2 * lazy_max_pages(cpus),
        calibration_loops=20_000,
    ),
    Case(
        "long_busy_list_alloc_test",  # 15,000 single pages, then areas of 100 and 1
        4,
        lambda size: size.kib(15_000 + 101),
        areas=(2, 101),
        pairs=2,
        prepared=lambda _: 15_000,
        calibration_loops=10_000,
    ),
    Case(
        "random_size_alloc_test",
        8,
        areas=tuple(range(2, _RANDOM_PAGES + 2)),
        calibration_loops=3_000,
    ),
    Case("fix_align_alloc_test", 16, areas=(6,), calibration_loops=10_000),
    Case(
        "random_size_align_alloc_test",
        32,
        areas=tuple(range(2, 12)),
        misaligned=9 / 23,  # 10 of 23 alignments exceed a page
        calibration_loops=10_000,
    ),
    Case("align_shift_alloc_test", 64, may_fail=True),  # alignments beyond the address space
    Case(
        "pcpu_alloc_test",
        128,
        lambda size: size.pcpu_objects * _PCPU_BYTES * size.cpus // 1024,
    ),
    Case("kvfree_rcu_1_arg_vmalloc_test", 256, _deferred),
    Case("kvfree_rcu_2_arg_vmalloc_test", 512, _deferred),
    Case("vm_map_ram_test", 1024, checks_failure=False),
    Case("no_block_alloc_test", 2048, may_fail=True),  # GFP_NOWAIT without free pages
    Case("vrealloc_test", 4096),  # one page, grown to four, then shrunk
)


def _area(size: LoadSize) -> int:
    return size.kib(size.area_pages)


def _ring(size: LoadSize) -> int:
    return size.kib(65 * size.area_pages)  # areas passed to another worker and not freed yet


OWN_CASES: tuple[Case, ...] = (
    Case("vmalloc_test", 1, _area),
    Case("vmap_test", 2, _area),
    Case("map_only_test", 4, _area),
    Case("ioremap_test", 8, _nothing_kib),
    Case("remote_free_test", 16, _ring),
    Case("mixed_sizes_test", 32, lambda size: size.kib(8_000)),  # 256 areas: 2,900 + 5 sigma
)
"""Of vmapbench_cases (harness/testmod/own)."""

BY_NAME = {case.name: case for case in (*CASES, *OWN_CASES)}
BY_SHORT_NAME = {case.short: case for case in CASES}
