"""One load of the module: checked against its own .modinfo, and what it asks of the guest.

Facts of the cases are those of lib/test_vmalloc.c in Linux 6.12.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import ParameterError
from harness.testmod.modinfo import ModuleInfo

Value = bool | int | str

_PAGE_KIB = 4
_INT_MAX = 2**31 - 1
# Values that the module's code can stand. Its own clamp of nr_threads would hide a typing error.
_RANGES: Mapping[str, tuple[int, int]] = {
    "nr_threads": (1, 65535),
    "run_test_mask": (1, _INT_MAX),
    "test_repeat_count": (1, _INT_MAX),
    "test_loop_count": (1, _INT_MAX),
    "nr_pages": (0, _INT_MAX),
}
_DEFAULTS: Mapping[str, Value] = {
    "nr_threads": 1,
    "sequential_test_order": False,
    "test_repeat_count": 1,
    "test_loop_count": 1_000_000,
    "nr_pages": 0,
    "use_huge": False,
    "run_test_mask": _INT_MAX,
}
_BOOLS: Mapping[Value, bool] = {"y": True, "n": False, "1": True, "0": False, 1: True, 0: False}
_PCPU_OBJECTS = 35_000  # pcpu_alloc_test, each on every CPU
_PCPU_BYTES = 512  # and of random size up to a quarter page: the mean
_BUSY_LIST_PAGES = 15_000 + 101  # long_busy_list_alloc_test: single pages, then areas of 100 and 1
_DEFERRED_PAGES = 16_384  # kvfree_rcu tests: what waits for a grace period, as an upper bound
_HUGE_PAGES = 512  # use_huge rounds an area up to 2 MiB
_BASE_MIB = 192  # the kernel, its log buffer and the initramfs
_CPU_MIB = 3  # per-CPU areas, stacks and page lists of one CPU


@dataclass(frozen=True)
class Workload:
    """A load of the module whose parameters are known to be good. `cases` in bit order."""

    parameters: Mapping[str, Value]
    cases: tuple[str, ...]

    @property
    def nr_threads(self) -> int:
        """Workers."""
        return int(self._value("nr_threads"))

    @property
    def loops(self) -> int:
        """Loops of one pass."""
        return int(self._value("test_loop_count"))

    @property
    def repeats(self) -> int:
        """Passes that one `avg` is the mean of."""
        return int(self._value("test_repeat_count"))

    @property
    def operations(self) -> int:
        """Loops that all workers do together in one case: throughput is this by the time."""
        return self.nr_threads * self.loops * self.repeats

    @property
    def expected_lines(self) -> int:
        """Lines of a complete log: a summary per worker and case, a total per worker."""
        return self.nr_threads * (len(self.cases) + 1)

    def render_parameters(self) -> str:
        """Return the parameter string of finit_module."""
        words = []
        for name, value in self.parameters.items():
            shown = {True: "Y", False: "N"}[value] if isinstance(value, bool) else value
            words.append(f"{name}={shown}")
        return " ".join(words)

    def held_kib(self, cpus: int) -> int:
        """Return what all workers hold at the peak of the greediest selected case, in KiB."""
        held = [self._held_by(case, cpus) for case in self.cases]
        return self.nr_threads * max(held, default=0)

    def memory_mib(self, cpus: int) -> int:
        """Return the guest memory that the load needs, in MiB: what it holds, and the base.

        Lazily freed areas hold no pages, only page tables; the factor 1.3 covers those, the
        vmap areas themselves, the page allocator's per-CPU lists and fragmentation.
        """
        return _BASE_MIB + _CPU_MIB * cpus + int(self.held_kib(cpus) * 1.3) // 1024

    def _held_by(self, case: str, cpus: int) -> int:
        """Return what one worker holds at the peak of `case`, in KiB."""
        if case == "pcpu_alloc_test":
            return _PCPU_OBJECTS * _PCPU_BYTES * cpus // 1024
        if case == "full_fit_alloc_test":  # two arrays of lazy_max_pages() single pages each
            return 2 * lazy_max_pages(cpus) * _PAGE_KIB
        if case == "long_busy_list_alloc_test":
            return _BUSY_LIST_PAGES * _PAGE_KIB
        if case.startswith("kvfree_rcu_"):
            return min(self.loops, _DEFERRED_PAGES) * _PAGE_KIB
        return max(100, self._area_pages()) * _PAGE_KIB  # random_size_alloc_test: up to 100 pages

    def _area_pages(self) -> int:
        """Return the size of one area of fix_size_alloc_test and vm_map_ram_test, in pages."""
        pages = max(1, int(self._value("nr_pages")))
        return -(-pages // _HUGE_PAGES) * _HUGE_PAGES if self._value("use_huge") else pages

    def _value(self, name: str) -> Value:
        return self.parameters.get(name, _DEFAULTS[name])


def check_workload(parameters: Mapping[str, Value], module: ModuleInfo) -> Workload:
    """Return the load that `parameters` describe, in sequential order unless they say otherwise.

    In the module's own default order each worker shuffles its cases, so that at one time different
    workers are in different cases and no case is measured alone.

    Raises ParameterError, naming every unknown parameter and value out of range at once.
    """
    faults = []
    good: dict[str, Value] = {}
    for name, value in parameters.items():
        known = module.parameters.get(name)
        if known is None:
            allowed = ", ".join(module.parameters) or "none"
            faults.append(f"{name}: no parameter of {module.name}; it has: {allowed}")
            continue
        try:
            good[name] = _check_value(name, value, known.type)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if "sequential_test_order" in module.parameters:
        good.setdefault("sequential_test_order", True)
    mask = int(good.get("run_test_mask", _INT_MAX))
    cases = tuple(case for case, bit in module.cases.items() if mask & bit)
    if module.cases and not cases and not faults:
        masks = ", ".join(f"{bit} {case}" for case, bit in module.cases.items())
        faults.append(f"run_test_mask: {mask} selects no case; the module has: {masks}")
    if faults:
        raise ParameterError("\n".join(faults))
    return Workload(good, cases)


def _check_value(name: str, value: Value, kind: str) -> Value:
    if kind == "bool":
        lowered = value.lower() if isinstance(value, str) else value
        if lowered not in _BOOLS:
            raise ValueError(f"found {value!r}, expected a bool (true or false)")
        return _BOOLS[lowered]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"found {value!r}, expected a whole number ({kind})")
    low, high = _RANGES.get(name, (0 if kind.startswith("u") else -_INT_MAX - 1, _INT_MAX))
    if not low <= value <= high:
        raise ValueError(f"found {value}, expected {low} to {high}")
    return value


def lazy_max_pages(cpus: int) -> int:
    """Return how many lazily freed pages start a purge (mm/vmalloc.c, lazy_max_pages)."""
    return cpus.bit_length() * (32 << 20) // (_PAGE_KIB << 10)


def steady_loops(nr_threads: int, cpus: int) -> int:
    """Return the loops after which the first purge has filled the pools.

    One single-page allocation frees two pages of address space (its guard page), so the first
    purge comes after lazy_max_pages / 2 of them over all workers.
    """
    return -(-lazy_max_pages(cpus) // (2 * nr_threads))
