"""The input of predictions: the work of an allocation and its free on one CPU, by lock.

Measured on a single CPU, without contention (see `harness.targets.lockprofile`): for each place
that takes a spin lock, how often it does, the work while it is held, and how many of the touched
cache lines earlier holders wrote. Work is counted, not timed, so that the costs of any machine can
be applied to it.
"""

import bisect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from harness.errors import InputError

FORMAT = 2
_LINE_BITS = 6  # of an address within a cache line
AGES = 16  # buckets of ages: lines written 1, 2, 3-4, 5-8 ... holds ago
ZONE_LOCK = "zone->lock"
# Functions that take a zone's lock and no other lock in allocated memory. If the compiler inlined
# one into a caller that takes others too, the lock's address identifies it.
ZONE_FUNCTIONS = ("rmqueue_bulk", "free_pcppages_bulk", "free_one_page", "rmqueue_buddy")
_RARE = 0.1  # updates of a counter per loop
_IMAGE = 0xFFFFFFFF80000000  # start of the kernel's code and data
_MODULES = 0xFFFFFFFFA0000000


@dataclass(frozen=True)
class CpuWork:
    """Counts of a CPU's work, without costs."""

    instructions: float
    atomics: float
    bytes: float  # of string instructions

    def __add__(self, other: "CpuWork") -> "CpuWork":
        """Return the sum of both."""
        return CpuWork(
            self.instructions + other.instructions,
            self.atomics + other.atomics,
            self.bytes + other.bytes,
        )

    def __mul__(self, factor: float) -> "CpuWork":
        """Return the work multiplied by `factor`."""
        return CpuWork(self.instructions * factor, self.atomics * factor, self.bytes * factor)


@dataclass(frozen=True)
class Site:
    """A place that takes a lock. Work and lines are means per hold.

    `lock`: symbol and offset of a static lock, ZONE_LOCK, or "" for others in allocated memory;
    `addresses`: number of different locks that were taken here. `lines[i]`: lines that a holder of
    the same lock wrote 2**(i-1)+1 to 2**i holds ago; `others`: lines that other code wrote.
    """

    caller: str
    lock: str
    addresses: int
    visits: float  # per loop of the case
    work: CpuWork
    others: float
    lines: tuple[float, ...]


@dataclass(frozen=True)
class CaseProfile:
    """The profile of a case on one CPU. `work`: of one loop, including the holds of locks.

    `atomics`: updates of global counters per loop, by cache line, as counters in one line contend
    with each other. A line is named after its counters, `a+b`.
    """

    work: CpuWork
    sites: tuple[Site, ...]
    atomics: Mapping[str, float]


@dataclass(frozen=True)
class Calibration:
    """The profiles of a kernel: `cases[case][nodes]`, `nodes`: "1" or "many" (one per CPU)."""

    kernel: str
    how: str  # the command that measured it
    possible_cpus: int
    cases: Mapping[str, Mapping[str, CaseProfile]]


def parse_lock_profile(text: str, system_map: str) -> Iterator[dict[str, Any]]:
    """Yield a dict with the raw counts of each part of a profile; the format is in locks.c."""
    symbols = _Symbols(system_map)
    part: dict[str, Any] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        if kind == "part":
            if part:
                yield part
            part = {"work": [int(word) for word in fields[1:4]], "sites": {}, "atomics": {}}
        elif kind == "lock":
            caller, lock = int(fields[0], 16), int(fields[1], 16)
            name = symbols.at(lock) if lock >= _IMAGE else ""
            key = (f"{symbols.at(caller)}", name)
            site = part["sites"].setdefault(key, {"addresses": set(), "counts": [0] * (5 + AGES)})
            site["addresses"].add(lock)
            counts = [int(word) for word in fields[2:]]
            site["counts"] = [a + b for a, b in zip(site["counts"], counts, strict=True)]
        elif kind == "atomic":
            address = int(fields[0], 16)
            counts_of = part["atomics"].setdefault(address >> _LINE_BITS, {})
            name = symbols.at(address).removesuffix("+0x0")
            counts_of[name] = counts_of.get(name, 0) + int(fields[1])
    if part:
        yield part


def profile_of_part(part: Mapping[str, Any], loops: int) -> CaseProfile:
    """Return a part of `parse_lock_profile` as means over `loops`, without rare sites."""
    sites = []
    zones: set[int] = set()
    for (caller, _), site in part["sites"].items():
        if caller.partition("+")[0].partition(".")[0] in ZONE_FUNCTIONS:
            zones |= site["addresses"]
    for (caller, symbol), site in part["sites"].items():
        lock = symbol or (ZONE_LOCK if site["addresses"] <= zones else "")
        visits, *sums = site["counts"]
        work = CpuWork(*(each / visits for each in sums[:3]))
        if visits * work.instructions / loops < 0.5:
            continue
        lines = tuple(round(each / visits, 3) for each in sums[4:])
        rounded = CpuWork(*(round(each, 2) for each in asdict(work).values()))
        count = len(site["addresses"])
        others = round(sums[3] / visits, 3)
        sites.append(Site(caller, lock, count, round(visits / loops, 6), rounded, others, lines))
    sites.sort(key=lambda site: (-site.visits * site.work.instructions, site.caller))
    lines_of_counters = (
        {name: count / loops for name, count in sorted(line.items()) if count / loops > _RARE}
        for line in part["atomics"].values()
    )
    atomics = {
        "+".join(line): round(sum(line.values()), 4)
        for line in sorted(lines_of_counters, key=list)
        if line
    }
    work = CpuWork(*(round(each / loops, 2) for each in part["work"]))
    return CaseProfile(work, tuple(sites), atomics)


def render_calibration(calibration: Calibration) -> str:
    """Return the calibration as JSON for `parse_calibration`."""
    return json.dumps({"version": FORMAT, **asdict(calibration)}, indent=1) + "\n"


def parse_calibration(text: str, name: str) -> Calibration:
    """Return the calibration in a JSON text. Raises InputError, with `name`, if it is invalid."""
    try:
        document = json.loads(text)
        if document.get("version") != FORMAT:
            raise InputError(
                f"{name}: calibration format {document.get('version')}, expected {FORMAT}; "
                "repeat the measurement with `vmapbench calibrate`"
            )
        cases = {
            case: {nodes: _profile(each) for nodes, each in settings.items()}
            for case, settings in document["cases"].items()
        }
        return Calibration(document["kernel"], document["how"], document["possible_cpus"], cases)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{name}: not a calibration: {type(error).__name__}: {error}") from error


def _profile(document: Mapping[str, Any]) -> CaseProfile:
    sites = tuple(
        Site(**{**site, "work": CpuWork(**site["work"]), "lines": tuple(site["lines"])})
        for site in document["sites"]
    )
    return CaseProfile(CpuWork(**document["work"]), sites, document["atomics"])


class _Symbols:
    def __init__(self, system_map: str):
        found = re.findall(r"^([0-9a-f]{16}) \w (\S+)$", system_map, re.MULTILINE)
        pairs = sorted((int(address, 16), name) for address, name in found)
        self._addresses = [address for address, _ in pairs]
        self._names = [name for _, name in pairs]

    def at(self, address: int) -> str:
        """Return symbol+offset; all modules have the same name."""
        if address >= _MODULES:
            return "module+0x0"
        index = bisect.bisect_right(self._addresses, address) - 1
        if index < 0:
            return hex(address)
        return f"{self._names[index]}+{address - self._addresses[index]:#x}"
