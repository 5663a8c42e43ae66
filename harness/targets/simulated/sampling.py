"""Windows of detail in a load that is too long to simulate, and what they say of the whole load.

The plugin (plugin/sampling.c) runs everything fast but for windows, in which it measures how long
the module's threads are at each of some call instructions of its code, until they come to the
next. This module finds these instructions, and makes an estimate of a worker's time from them.
"""

import io
import itertools
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection
from scipy import stats

from harness.errors import InputError
from harness.targets.base import BootRequest
from harness.targets.simulated.profile import Window, parse_windows
from harness.testmod.cases import BY_NAME, lazy_max_pages

LEAST_WINDOWS = 12  # fewer say too little of how much windows differ
_PC32, _PLT32 = 2, 4  # R_X86_64_...
_PAGE = 4096
_END = "\nend\n"  # of a window in the plugin's file


@dataclass(frozen=True)
class Sampling:
    """When there are windows. Lengths are ms of virtual time, gaps between windows turns of loops.

    `gap`: 0 for one window after another. `error`: of the estimate, half of its 95 % interval; a
    boot ends when it is as small, or after `within_s` of host time (0: never).
    """

    window_ms: float = 2.0
    warm_ms: float = 0.5  # of detail before each window
    gap: int = 0
    prepare_gap: int = 300_000  # while a worker prepares its loops
    error: float = 0.05
    within_s: float = 0


@dataclass(frozen=True)
class CallSite:
    """A call instruction of the module, in a loop or between cases.

    `offset`: in the module's text; `case`: "" between cases; `part`: "prepare", "loop" or "end".
    """

    offset: int
    case: str = ""
    part: str = ""

    def times(self, loops: int, cpus: int) -> int:
        """Return how often a worker executes it that runs the case once."""
        if self.part == "loop":
            return loops
        if self.case == "long_busy_list_alloc_test":
            return BY_NAME[self.case].prepared(cpus)
        return lazy_max_pages(cpus)  # full_fit_alloc_test: in each of its two arrays


# Of each case the calls of a function in their order, and which of them are in which loop: one call
# a loop, since the time until the next turn is what is asked.
_Loops = Mapping[str, tuple[str, ...]]
_CASES: Mapping[str, _Loops] = {
    "fix_size_alloc_test": {"vmalloc": ("loop",)},
    "full_fit_alloc_test": {
        "vmalloc": ("", "", "prepare", "", "loop"),
        "vfree": ("prepare", "", "end"),
    },
    "long_busy_list_alloc_test": {
        "vmalloc": ("", "prepare", "loop", ""),
        "vfree": ("", "", "end"),
    },
}
CASES = tuple(_CASES)


def find_sites(module: bytes) -> tuple[CallSite, ...]:
    """Return the sites of the three cases in a test_vmalloc.ko.

    Raises InputError where its code is not as expected.
    """
    try:
        calls = _calls(module)
    except Exception:  # damaged bytes make pyelftools raise errors of many kinds
        calls = {}
    sites = [CallSite(offset) for offset in calls.get(("test_func", "ktime_get"), ())]
    complete = bool(sites)
    for case, loops in _CASES.items():
        for function, parts in loops.items():
            offsets = calls.get((case, function), ())
            complete &= len(offsets) >= len(parts)
            found = zip(offsets, parts, strict=False)
            sites += [CallSite(offset, case, part) for offset, part in found if part]
    if not complete or len({site.offset % _PAGE for site in sites}) < len(sites):
        raise InputError(
            "windows of detail: the loops of test_vmalloc.ko were not found in its code, which "
            f"has to call vmalloc and vfree in {', '.join(_CASES)}"
        )
    return tuple(sites)


def _calls(module: bytes) -> dict[tuple[str, str], list[int]]:
    """Return the offsets of calls in the module's text by (caller, callee), in their order."""
    elf = ELFFile(io.BytesIO(module))
    text, table = elf.get_section_index(".text"), elf.get_section_by_name(".symtab")
    relocations = elf.get_section_by_name(".rela.text")
    if not isinstance(table, SymbolTableSection) or not isinstance(relocations, RelocationSection):
        return {}
    functions = [
        (symbol["st_value"], symbol["st_value"] + symbol["st_size"], symbol.name)
        for symbol in table.iter_symbols()
        if symbol["st_shndx"] == text and symbol["st_info"]["type"] == "STT_FUNC"
    ]
    found: dict[tuple[str, str], list[int]] = {}
    for relocation in sorted(relocations.iter_relocations(), key=lambda entry: entry["r_offset"]):
        if relocation["r_info_type"] not in (_PC32, _PLT32):
            continue
        call = relocation["r_offset"] - 1  # the opcode is before the distance
        callee = table.get_symbol(relocation["r_info_sym"]).name.removesuffix("_noprof")
        for start, end, name in functions:
            if start <= call < end:
                found.setdefault((name, callee), []).append(call)
    return found


@dataclass(frozen=True)
class Estimate:
    """What windows say of a worker's time in the whole load, in s.

    `half_s`: half of the 95 % interval, from how much windows differ. `turn_ns`: of each loop, by
    case and part, the time of a turn as its worker sees it. `windows`: in which nobody prepared.
    `drift_s`: later half of these windows minus earlier half. `unseen`: loops that no window shows.
    """

    worker_s: float
    half_s: float
    turn_ns: Mapping[tuple[str, str], float]
    case_s: Mapping[str, float]
    windows: int
    drift_s: float
    unseen: tuple[tuple[str, str], ...]

    def steady(self, error: float) -> bool:
        """Whether the interval is as narrow as asked, and the halves differ by no more."""
        enough = self.windows >= LEAST_WINDOWS and all(part == "end" for _, part in self.unseen)
        return enough and max(self.half_s, abs(self.drift_s)) <= error * self.worker_s


def steady_windows(windows: Sequence[Window], sites: Sequence[CallSite]) -> list[Window]:
    """Return the windows in which nobody prepares; all of them where somebody always does."""
    prepares = [index for index, site in enumerate(sites) if site.part == "prepare"]
    steady = [w for w in windows if w.sites and not any(w.sites[i][1] for i in prepares)]
    return steady or list(windows)


def estimate(
    windows: Sequence[Window], sites: Sequence[CallSite], loops: int, cpus: int, mask: int = 7
) -> Estimate:
    """Return what `windows` say of a load of so many loops, one worker for each CPU.

    A turn's time is the quotient of two sums over windows, so its variance is that of the
    residuals (Cochran, Sampling Techniques, 1977, 6.4); where windows resemble the ones before
    them, it is larger by (1 + r) / (1 - r), r being that correlation. Raises ValueError for no
    window.
    """
    steady = steady_windows(windows, sites)
    turn_ns: dict[tuple[str, str], float] = {}
    case_s: dict[str, float] = {}
    unseen = []
    residuals: dict[str, list[float]] = {"loop": [0.0] * len(steady)}
    for index, site in enumerate(sites):
        if not site.part or not BY_NAME[site.case].mask & mask:
            continue
        loop = site.part == "loop"
        rows = [window.sites[index] for window in (steady if loop else windows) if window.sites]
        made, times = sum(row[0] for row in rows), site.times(loops, cpus)
        if not made:
            unseen.append((site.case, site.part))
            continue
        mean = sum(row[1] for row in rows) / made
        key = (site.case, site.part)
        turn_ns[key] = turn_ns.get(key, 0.0) + mean
        case_s[site.case] = case_s.get(site.case, 0.0) + times * mean / 1e9
        part = "loop" if loop else "other"
        before = residuals.get(part, [0.0] * len(rows))
        residuals[part] = [
            sum_s + times * (ticks - mean * calls) / made / 1e9
            for sum_s, (calls, ticks) in zip(before, rows, strict=True)
        ]
    half_s = sum(_half(values) ** 2 for values in residuals.values()) ** 0.5
    middle, turns = len(steady) // 2, residuals["loop"]
    drift_s = 2 * (sum(turns[-middle:]) - sum(turns[:middle])) if middle else 0.0
    return Estimate(
        sum(case_s.values()), half_s, turn_ns, case_s, len(steady), drift_s, tuple(unseen)
    )


def _half(residuals: Sequence[float]) -> float:
    """Return half of the 95 % interval of their sum."""
    count = len(residuals)
    if count < 2 or not any(residuals):
        return 0.0
    variance = statistics.variance(residuals) * count
    again = max(0.0, min(0.9, _correlation(residuals)))
    return _quantile(count - 1) * math.sqrt(variance * (1 + again) / (1 - again))


def _correlation(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    whole = sum((value - mean) ** 2 for value in values)
    shared = sum((a - mean) * (b - mean) for a, b in itertools.pairwise(values))
    return shared / whole if whole else 0.0


@cache
def _quantile(freedom: int) -> float:
    return float(stats.t.ppf(0.975, freedom))


Judge = Callable[[Sequence[Window]], Estimate]
"""Makes an estimate from windows."""


def judge_of(request: BootRequest) -> Judge:
    """Return what makes an estimate of the last load of `request`."""
    numbers = dict(re.findall(r"(\w+)=(\d+)", request.loads[-1]))
    return partial(
        estimate,
        sites=find_sites(request.kernel.module.read_bytes()),
        loops=int(numbers["test_loop_count"]),
        cpus=request.cpus,
        mask=int(numbers["run_test_mask"]),
    )


def first_steady(
    windows: Sequence[Window], judge: Judge, error: float, known: int = 0
) -> Estimate | None:
    """Return the estimate of the fewest first windows that are steady; None: they are not yet.

    So it does not depend on how many more there are. `known`: so many first ones are not steady.
    """
    for count in range(max(LEAST_WINDOWS, known + 1), len(windows) + 1):
        found = judge(windows[:count])
        if found.steady(error):
            return found
    return None


def read_windows(folder: Path) -> list[Window]:
    """Return the windows that the boot in `folder` has had so far."""
    return parse_windows(_whole_windows(folder))


def _whole_windows(folder: Path, since: int = 0) -> str:
    """Return the text of the windows behind byte `since` without one that is being written."""
    path = folder / "windows.txt"
    if not path.is_file():
        return ""
    with path.open(encoding="ascii") as file:
        file.seek(since)
        text = file.read()
    end = text.rfind(_END)
    return text[: end + len(_END)] if end >= 0 else ""


class WindowWatch:
    """Looks at the windows of a boot under way."""

    def __init__(self, folder: Path, judge: Judge, error: float, within_s: float = 0):
        """`error`: of the estimate, half of its interval. `within_s`: see `Sampling`."""
        self._folder, self._judge, self._error = folder, judge, error
        self._until = time.monotonic() + (within_s or math.inf)
        self._read = 0  # bytes
        self._windows: list[Window] = []

    def enough(self) -> bool:
        """Whether the windows so far are steady, or time is up."""
        return time.monotonic() > self._until or self._steady()

    def _steady(self) -> bool:
        known, text = len(self._windows), _whole_windows(self._folder, self._read)
        if not text:
            return False
        self._read += len(text)
        self._windows += parse_windows(text)
        return first_steady(self._windows, self._judge, self._error, known) is not None
