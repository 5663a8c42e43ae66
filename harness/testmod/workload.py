"""A load of the module: checks of its parameters, and the memory that it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import ParameterError
from harness.spec.architecture import PAGE_SIZE
from harness.testmod.cases import BY_NAME, CASES, Case, LoadSize, lazy_max_pages
from harness.testmod.modinfo import ModuleInfo

Value = bool | int | str

_INT_MAX = 2**31 - 1
# Values that the module supports. It clamps nr_threads itself, which would hide a typo.
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
"""Defaults in lib/test_vmalloc.c, for parameters that neither a load nor the built module has."""
_BOOLS: Mapping[Value, bool] = {"y": True, "n": False, "1": True, "0": False, 1: True, 0: False}
_HUGE_BYTES = 2 << 20  # use_huge rounds areas up to this size, the smallest huge mapping
_BASE_MIB = 192  # the kernel, its log buffer and the initramfs
_CPU_MIB = 3  # per-CPU areas, stacks and page lists of one CPU


def room_mib(held_kib: int) -> int:
    """Return the guest memory in MiB for workers that hold `held_kib` KiB.

    The factor 1.3 is for page tables, also of lazily freed areas, the vmap areas themselves, the
    page allocator's per-CPU lists and fragmentation.
    """
    return int(held_kib * 1.3) // 1024


@dataclass(frozen=True)
class Workload:
    """A load of the module with valid parameters. `cases`: in the order of their bits.

    `defaults`: the module's known default values.
    """

    parameters: Mapping[str, Value]
    cases: tuple[str, ...]
    defaults: Mapping[str, Value] = field(default_factory=dict)

    @property
    def nr_threads(self) -> int:
        """Number of workers."""
        return int(self._value("nr_threads"))

    @property
    def loops(self) -> int:
        """Loops per pass."""
        return int(self._value("test_loop_count"))

    @property
    def repeats(self) -> int:
        """Number of passes of a case, over which `avg` is the mean."""
        return int(self._value("test_repeat_count"))

    def render_parameters(self) -> str:
        """Return the parameters as a string for finit_module."""
        parts = []
        for name, value in self.parameters.items():
            shown = {True: "Y", False: "N"}[value] if isinstance(value, bool) else value
            parts.append(f"{name}={shown}")
        return " ".join(parts)

    def held_kib(self, cpus: int, page_size: int = PAGE_SIZE) -> int:
        """Return the maximum memory of all workers in KiB, in the selected case with the most."""
        objects = int(self._value("nr_pcpu_objects"))
        size = LoadSize(cpus, self.loops, self._area_pages(page_size), objects, page_size)
        held = [(BY_NAME.get(name) or Case(name, 0)).held_kib(size) for name in self.cases]
        return self.nr_threads * max(held, default=0)

    @property
    def unknown_cases(self) -> tuple[str, ...]:
        """The selected cases without a row in `cases.py`, whose memory is unknown."""
        return tuple(name for name in self.cases if name not in BY_NAME)

    def memory_mib(self, cpus: int, page_size: int = PAGE_SIZE) -> int:
        """Return the memory in MiB that the guest needs for the load, including the kernel."""
        return _BASE_MIB + _CPU_MIB * cpus + room_mib(self.held_kib(cpus, page_size))

    def _area_pages(self, page_size: int) -> int:
        """Return the size in pages of areas in cases that use nr_pages."""
        pages = max(1, int(self._value("nr_pages")))
        huge = _HUGE_BYTES // page_size
        return -(-pages // huge) * huge if self._value("use_huge") else pages

    def _value(self, name: str) -> Value:
        return self.parameters.get(name, self.defaults.get(name, DEFAULTS[name]))


def check_workload(parameters: Mapping[str, Value], module: ModuleInfo) -> Workload:
    """Return the load with `parameters` after checking them, in sequential order by default.

    In the module's default order each worker shuffles its cases, so that different cases run at the
    same time. The default of the mask is the module's: all cases in 6.12, the first three since
    7.0; it is passed explicitly, so that it is recorded.

    Raises ParameterError with all unknown parameters and invalid values.
    """
    faults = []
    good: dict[str, Value] = {}
    for name, value in parameters.items():
        known = module.parameters.get(name)
        if known is None:
            allowed = ", ".join(sorted(module.parameters)) or "none"
            faults.append(f"{name}: not a parameter of {module.name}; expected one of {allowed}")
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
    """Return the load with `parameters`, unchecked, for a module that is not built yet.

    Its cases are those of `harness.testmod.cases` in the mask.
    """
    mask = int(parameters.get("run_test_mask", _INT_MAX))
    cases = tuple(case.name for case in CASES if case.mask & mask)
    return Workload({"sequential_test_order": True, **parameters}, cases)


def _mask_faults(mask: int, module: ModuleInfo) -> list[str]:
    """Return why the cases of a mask are unknown. Extra bits are allowed if all cases are set."""
    if not module.cases:
        what = f"run_test_mask: {module.name} does not list its cases (`id: 1, name: ...` in the "
        return [f"{what}parameter's description), so a complete run cannot be recognised"]
    every = _every_case(module)
    masks = ", ".join(f"{bit} {case}" for case, bit in module.cases.items())
    if not mask & every:
        return [f"run_test_mask: {mask} selects no case; the module's cases are {masks}"]
    if unknown := mask & ~every if mask & every != every else 0:
        bits = ", ".join(str(1 << n) for n in range(unknown.bit_length()) if unknown >> n & 1)
        return [f"run_test_mask: {mask} has {bits} without a case; the module's cases are {masks}"]
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
    """Return the mask of the cases that a module runs by default."""
    every = _every_case(module) or _INT_MAX
    return module.defaults.get("run_test_mask", every) & every


def unlike_defaults(modules: Mapping[str, ModuleInfo]) -> dict[str, dict[str, str]]:
    """Return parameter -> kernel -> default as text, for parameters whose default differs.

    Parameters that a module lacks or whose default is unknown are left out, as is the order of the
    cases, which is always set.
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
    """Return the loops per worker after which the first purge has filled the pools.

    A single-page allocation takes two pages of address space, with its guard page, so the first
    purge starts after lazy_max_pages / 2 of them by all workers.
    """
    return -(-lazy_max_pages(cpus) // (2 * nr_threads))
