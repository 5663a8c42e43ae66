"""The cases of lib/test_vmalloc.c, with all that the harness knows about each.

Which cases a module really has, its own .modinfo says (harness/testmod/modinfo.py); a case that has
no row here runs and is measured where the playbook says how much memory it may take, and no model
knows it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from harness.spec.architecture import PAGE_SIZE

_PCPU_BYTES = 512  # of random size up to a quarter page: the mean
_DEFERRED_PAGES = 16_384  # kvfree_rcu tests: what waits for a grace period, as an upper bound
_RANDOM_PAGES = 100  # random_size_alloc_test: up to as many


def lazy_max_pages(cpus: int, page_size: int = PAGE_SIZE) -> int:
    """Return how many lazily freed pages start a purge (mm/vmalloc.c, lazy_max_pages)."""
    return cpus.bit_length() * ((32 << 20) // page_size)


@dataclass(frozen=True)
class LoadSize:
    """What the memory that a case holds depends on."""

    cpus: int
    loops: int
    area_pages: int  # of nr_pages and use_huge
    pcpu_objects: int
    page_size: int = PAGE_SIZE  # bytes

    def kib(self, pages: int) -> int:
        """Return the size of so many pages."""
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
    """One case of the module.

    `mask`: its bit of run_test_mask. `held_kib`: what one worker holds at the peak.
    `areas`: pages of address space, guard page included, that its allocations take, equally often;
    empty where the model cannot follow the case. `pairs`: allocations with their frees in a loop,
    `prepared`: those before the first loop, for a number of CPUs. `misaligned`: share of areas from
    a pool that are not aligned as asked. `checks_failure`: whether it looks if an allocation failed
    before it writes there. `calibration_loops`: of `vmapbench calibrate`.
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
        """The name in the model's tables and options: fix_size of fix_size_alloc_test."""
        return short_name(self.name)


def short_name(case: str) -> str:
    """Return `fix_size` for `fix_size_alloc_test`."""
    return case.removesuffix("_test").removesuffix("_alloc")


CASES: tuple[Case, ...] = (
    Case("fix_size_alloc_test", 1, areas=(2,), calibration_loops=20_000),
    Case(
        "full_fit_alloc_test",  # two arrays of lazy_max_pages() single pages each
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
    Case("align_shift_alloc_test", 64, may_fail=True),  # shifts past what the address space has
    Case(
        "pcpu_alloc_test",
        128,
        lambda size: size.pcpu_objects * _PCPU_BYTES * size.cpus // 1024,
    ),
    Case("kvfree_rcu_1_arg_vmalloc_test", 256, _deferred),
    Case("kvfree_rcu_2_arg_vmalloc_test", 512, _deferred),
    Case("vm_map_ram_test", 1024, checks_failure=False),
    Case("no_block_alloc_test", 2048, may_fail=True),  # GFP_NOWAIT without a page at hand
    Case("vrealloc_test", 4096),  # one page, grown to four and shrunk again
)


def _area(size: LoadSize) -> int:
    return size.kib(size.area_pages)


def _ring(size: LoadSize) -> int:
    return size.kib(65 * size.area_pages)  # what a worker has handed over and nobody has freed


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
