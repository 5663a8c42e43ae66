"""Measures the speed of the model: `python -m benchmarks.model [functional] [timing]`

An operation is an allocation or a free. The mixes are those of test_vmalloc's cases.
"""

import random
import sys
import time

from harness.model.allocator import Allocator, Rules
from harness.model.free_space import PAGE_SIZE
from harness.model.predict import load_calibration, predict_point
from harness.model.timing import Design
from harness.targets.simulated.costs import machine_costs
from harness.testmod.cases import lazy_max_pages

OPERATIONS = 200_000


def pairs(allocator, size_of, alignment_of, operations):
    for _ in range(operations // 2):
        allocator.free(allocator.allocate(size_of(), alignment_of()).start)
        if allocator.purge_due:
            allocator.purge()


def long_busy_list(allocator, operations):
    busy = [allocator.allocate(2 * PAGE_SIZE).start for _ in range(15_000)]
    for _ in range((operations - 30_000) // 4):
        large = allocator.allocate(101 * PAGE_SIZE).start
        small = allocator.allocate(2 * PAGE_SIZE).start
        allocator.free(large)
        allocator.free(small)
        if allocator.purge_due:
            allocator.purge()
    for address in busy:
        allocator.free(address)


def cases():
    """Yield (case, work); work(allocator) runs OPERATIONS operations."""
    one_page = lambda: 2 * PAGE_SIZE  # noqa: E731  # a table of mixes reads best as lambdas
    any_size = lambda: (random.randint(1, 100) + 1) * PAGE_SIZE  # noqa: E731
    unaligned = lambda: 1  # noqa: E731
    any_alignment = lambda: 1 << random.randrange(23)  # noqa: E731
    yield "fix_size", lambda a: pairs(a, one_page, unaligned, OPERATIONS)
    yield "random_size", lambda a: pairs(a, any_size, unaligned, OPERATIONS)
    yield "random_size_align", lambda a: pairs(a, any_size, any_alignment, OPERATIONS)
    yield "long_busy_list", lambda a: long_busy_list(a, OPERATIONS)


def functional():
    print(f"{'case':<20}{'nodes':>6}{'operations/s':>14}")
    for name, work in cases():
        for nodes in (1, 64):
            random.seed(1)
            allocator = Allocator(Rules(nodes, lazy_max_pages(1)))
            started = time.perf_counter()
            work(allocator)
            elapsed_s = time.perf_counter() - started
            print(f"{name:<20}{nodes:>6}{OPERATIONS / elapsed_s:>14,.0f}")


def timing():
    """Simulate a million operations on 64 CPUs, with one node and with many."""
    calibration, machine = load_calibration(), machine_costs("threadripper-3970x")
    print(f"{'case':<20}{'nodes':>6}{'seconds':>9}{'CPU s':>7}  a million operations, 64 CPUs")
    for case in ("fix_size", "full_fit", "long_busy_list", "random_size"):
        for nodes in (1, 64):
            started, used = time.perf_counter(), time.process_time()
            predict_point(calibration, machine, case, 64, Design(nodes), pairs=500_000)
            elapsed_s = time.perf_counter() - started
            print(f"{case:<20}{nodes:>6}{elapsed_s:>9.1f}{time.process_time() - used:>7.1f}")


if __name__ == "__main__":
    for part in sys.argv[1:] or ["functional", "timing"]:
        globals()[part]()
