"""One load of the module, checked against its .modinfo, and the memory it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import ParameterError
from harness.spec.architecture import PAGE_SIZE
from harness.testmod.cases import BY_NAME, CASES, Case, LoadSize, lazy_max_pages
from harness.testmod.modinfo import ModuleInfo

Value = bool | int | str

_INT_MAX = 2**31 - 1
# Values that the module's code can stand. Its own clamp of nr_threads would hide a typing error.
_RANGES: Mapping[str, tuple[int, int]] = {
    "nr_threads": (1, 65535),
    "run_test_mask": (1, _INT_MAX),
    "test_repeat_count": (1, _INT_MAX),
    "test_loop_count": (1, _INT_MAX),
    "nr_pages": (0, _INT_MAX),
    "nr_pcpu_objects": (1, 10_000_000),
}
DEFAULTS: Mapping[str, Value] = {
    "nr_threads": 1,
    "sequential_test_order": False,
    "test_repeat_count": 1,
    "test_loop_count": 1_000_000,
    "nr_pages": 0,
    "use_huge": False,
    "nr_pcpu_objects": 35_000,
}
"""Defaults of lib/test_vmalloc.c for parameters that a load does not name.

The initial values in the module's own file come first.
"""
_BOOLS: Mapping[Value, bool] = {"y": True, "n": False, "1": True, "0": False, 1: True, 0: False}
_HUGE_BYTES = 2 << 20  # use_huge rounds an area up to it: the size where huge mappings begin
_BASE_MIB = 192  # the kernel, its log buffer and the initramfs
_CPU_MIB = 3  # per-CPU areas, stacks and page lists of one CPU


def room_mib(held_kib: int) -> int:
    """Return the memory, in MiB, that a guest needs for so many KiB that workers hold.

    Lazily freed areas hold no pages, only page tables; the factor 1.3 covers those, the vmap areas
    themselves, the page allocator's per-CPU lists and fragmentation.
    """
    return int(held_kib * 1.3) // 1024


@dataclass(frozen=True)
class Workload:
    """A load of the module whose parameters are known to be good. `cases` in bit order.

    `defaults`: the module's own values of parameters, as far as they are known.
    """

    parameters: Mapping[str, Value]
    cases: tuple[str, ...]
    defaults: Mapping[str, Value] = field(default_factory=dict)

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

    def render_parameters(self) -> str:
        """Return the parameter string of finit_module."""
        parts = []
        for name, value in self.parameters.items():
            shown = {True: "Y", False: "N"}[value] if isinstance(value, bool) else value
            parts.append(f"{name}={shown}")
        return " ".join(parts)

    def held_kib(self, cpus: int, page_size: int = PAGE_SIZE) -> int:
        """Return what all workers hold at the peak of the greediest selected case, in KiB."""
        objects = int(self._value("nr_pcpu_objects"))
        size = LoadSize(cpus, self.loops, self._area_pages(page_size), objects, page_size)
        held = [(BY_NAME.get(name) or Case(name, 0)).held_kib(size) for name in self.cases]
        return self.nr_threads * max(held, default=0)

    @property
    def unknown_cases(self) -> tuple[str, ...]:
        """The selected cases that have no row in `cases.py`: what they hold is not known."""
        return tuple(name for name in self.cases if name not in BY_NAME)

    def memory_mib(self, cpus: int, page_size: int = PAGE_SIZE) -> int:
        """Return the guest memory that the load needs, in MiB: what it holds, and the base."""
        return _BASE_MIB + _CPU_MIB * cpus + room_mib(self.held_kib(cpus, page_size))

    def _area_pages(self, page_size: int) -> int:
        """Return the size of one area of the cases that follow nr_pages, in pages."""
        pages = max(1, int(self._value("nr_pages")))
        huge = _HUGE_BYTES // page_size
        return -(-pages // huge) * huge if self._value("use_huge") else pages

    def _value(self, name: str) -> Value:
        return self.parameters.get(name, self.defaults.get(name, DEFAULTS[name]))


def check_workload(parameters: Mapping[str, Value], module: ModuleInfo) -> Workload:
    """Return the load that `parameters` describe, in sequential order unless they say otherwise.

    In the module's own default order each worker shuffles its cases, so that at one time different
    workers are in different cases and no case is measured alone.

    A mask that they do not name is the module's own default: all cases in 6.12, the first three
    since 7.0. It is passed all the same, so that every record of a boot shows it.

    Raises ParameterError, naming every unknown parameter and value out of range at once.
    """
    faults = []
    good: dict[str, Value] = {}
    for name, value in parameters.items():
        known = module.parameters.get(name)
        if known is None:
            allowed = ", ".join(sorted(module.parameters)) or "none"
            faults.append(f"{name}: not a parameter of {module.name}; it has: {allowed}")
            continue
        try:
            good[name] = _check_value(name, value, known.type)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if "sequential_test_order" in module.parameters:
        good.setdefault("sequential_test_order", True)
    mask = int(good.setdefault("run_test_mask", default_mask(module)))
    cases = tuple(case for case, bit in module.cases.items() if mask & bit)
    if not faults:
        faults += _mask_faults(mask, module)
    if faults:
        raise ParameterError("\n".join(faults))
    return Workload(good, cases, module.defaults)


def assumed_workload(parameters: Mapping[str, Value]) -> Workload:
    """Return the load that `parameters` describe, unchecked, of a module that is not known yet.

    Its cases are those of `harness.testmod.cases` that the mask has.
    """
    mask = int(parameters.get("run_test_mask", _INT_MAX))
    cases = tuple(case.name for case in CASES if case.mask & mask)
    return Workload({"sequential_test_order": True, **parameters}, cases)


def _mask_faults(mask: int, module: ModuleInfo) -> list[str]:
    """Return why nobody can tell what a mask runs. One that selects every case may have more."""
    if not module.cases:
        what = f"run_test_mask: {module.name} does not list its cases (`id: 1, name: ...` in the "
        return [f"{what}parameter's description), so nothing says what a complete run has"]
    every = _every_case(module)
    masks = ", ".join(f"{bit} {case}" for case, bit in module.cases.items())
    if not mask & every:
        return [f"run_test_mask: {mask} selects no case; the module has: {masks}"]
    if unknown := mask & ~every if mask & every != every else 0:
        bits = ", ".join(str(1 << n) for n in range(unknown.bit_length()) if unknown >> n & 1)
        return [f"run_test_mask: {mask} has {bits}, which no case is; the module has: {masks}"]
    return []


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


def _every_case(module: ModuleInfo) -> int:
    return sum(module.cases.values())


def default_mask(module: ModuleInfo) -> int:
    """Return the mask of the cases that a module runs when it is given none."""
    every = _every_case(module) or _INT_MAX
    return module.defaults.get("run_test_mask", every) & every


def unlike_defaults(modules: Mapping[str, ModuleInfo]) -> dict[str, dict[str, str]]:
    """Return parameter -> kernel -> its default as text, where modules differ in it.

    Left out are parameters that not all of them have or tell the default of, and the order of the
    cases, which every load is given.
    """
    shared = set.intersection(*(set(module.parameters) for module in modules.values()))
    found = {}
    for name in sorted(shared - {"sequential_test_order"}):
        said = {kernel: _default_text(name, module) for kernel, module in modules.items()}
        if "" not in said.values() and len(set(said.values())) > 1:
            found[name] = said
    return found


def _default_text(name: str, module: ModuleInfo) -> str:
    if name == "run_test_mask":
        mask = default_mask(module)
        return "all cases" if mask == _every_case(module) else f"mask {mask}"
    return str(module.defaults.get(name, ""))


def steady_loops(nr_threads: int, cpus: int) -> int:
    """Return the loops after which the first purge has filled the pools.

    One single-page allocation frees two pages of address space (its guard page), so the first
    purge comes after lazy_max_pages / 2 of them over all workers.
    """
    return -(-lazy_max_pages(cpus) // (2 * nr_threads))
