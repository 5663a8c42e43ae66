"""Measures a machine with a small program (measure.c) and makes a machine model of it."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

from harness.errors import InputError
from harness.guest.initramfs import ensure_program
from harness.process import Runner
from harness.targets.inventory import parse_cpu_list
from harness.targets.simulated.machine import (
    Arbitration,
    MachineModel,
    MachineTopology,
    Transfers,
)

SOURCE = Path(__file__).with_name("measure.c")
DISTANCES = ("same_core_ns", "same_complex_ns", "same_die_ns", "other_die_ns")
_PAIRS = 6  # pairs of CPUs to measure per distance, spread over the machine
_CACHES_KIB = (16, 256, 8192, 131072)
_SMT = 1.22  # see threadripper-3970x
# Runs the program with these arguments, returns its output.
Measure = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Cpu:
    """A CPU's place; `core`, `complex`: CPU lists of its core and its last-level cache."""

    number: int
    core: str
    complex: str
    die: tuple[str, str]  # package and die


@dataclass(frozen=True)
class Measurement:
    """Results of measure.c. Times are in ns, those of `core` as described in measure.c."""

    cpus: tuple[Cpu, ...]
    core: dict[str, float]
    transfers: dict[str, tuple[float, ...]]  # distance -> of each measured pair of CPUs
    latencies: dict[int, float]  # KiB -> time of a dependent load
    contended: dict[int, float]  # number of CPUs -> time between two updates of a line


def ensure_measure(cache: Path, runner: Runner) -> Path:
    """Return the path of the compiled static program, below `cache`. Raises ToolError."""
    return ensure_program("measure", SOURCE.read_bytes(), cache, runner)


def parse_topology(text: str) -> tuple[Cpu, ...]:
    """Return the CPUs in the output of `measure topology`. Raises InputError if it is malformed."""
    form = re.compile(r"cpu (\d+) core (\S+) complex (\S+) die (\S+) package (\S+)")
    found = [form.fullmatch(line) for line in text.splitlines()]
    cpus = tuple(
        Cpu(int(m[1]), m[2], m[3] if m[3] != "-" else m[5], (m[5], m[4])) for m in found if m
    )
    if not cpus or len(cpus) != len(found):
        raise InputError(f"the measuring program: malformed list of CPUs, {text[:200]!r}")
    return cpus


def parse_values(text: str) -> dict[str, float]:
    """Return the values of NAME VALUE lines. Raises InputError if malformed or not above 0."""
    found = [re.fullmatch(r"(\w+) (\d+(?:\.\d+)?)", line) for line in text.splitlines()]
    values = {m[1]: float(m[2]) for m in found if m}
    if not values or len(values) != len(found) or not all(values.values()):
        raise InputError(f"the measuring program: malformed output, {text[:200]!r}")
    return values


def distance(a: Cpu, b: Cpu) -> str:
    """Return the distance between two CPUs, one of `DISTANCES`."""
    same = (a.core == b.core, a.complex == b.complex, a.die == b.die, True)
    return DISTANCES[same.index(True)]


def pairs_to_measure(cpus: Sequence[Cpu]) -> dict[str, list[tuple[int, int]]]:
    """Return up to `_PAIRS` pairs of CPUs for each distance, spread over the machine."""
    pairs: dict[str, list[tuple[int, int]]] = {}
    for a, b in combinations(cpus, 2):
        pairs.setdefault(distance(a, b), []).append((a.number, b.number))
    return {
        name: found[:: -(-len(found) // _PAIRS)] for name in DISTANCES if (found := pairs.get(name))
    }


def measure_machine(measure: Measure, say: Callable[[str], None]) -> Measurement:
    """Run all measurements, which takes a few minutes. `say` receives a line for each."""
    cpus = parse_topology(measure(["topology"]))
    first = str(cpus[0].number)
    say(f"{len(cpus)} CPUs; one core")
    core = parse_values(measure(["core", first]))
    transfers = {}
    for name, pairs in pairs_to_measure(cpus).items():
        say(f"{name}: {len(pairs)} pairs of CPUs")
        transfers[name] = tuple(
            parse_values(measure(["pair", str(a), str(b)]))["transfer_ns"] for a, b in pairs
        )
    say("caches and memory")
    latencies = {
        kib: parse_values(measure(["latency", first, str(kib)]))["latency_ns"]
        for kib in _CACHES_KIB
    }
    contended = {}
    complexes = len({cpu.complex for cpu in cpus})
    for count in sorted({max(2, complexes), len(cpus)}) if len(cpus) > 1 else ():
        say(f"{count} CPUs on one cache line")
        parts = [str(cpu.number) for cpu in spread_out(cpus)[:count]]
        contended[count] = parse_values(measure(["contended", *parts]))["contended_ns"]
    return Measurement(cpus, core, transfers, latencies, contended)


def spread_out(cpus: Iterable[Cpu]) -> list[Cpu]:
    """Return the CPUs in the order of placing jobs: one per complex, then cores, then threads."""
    place: dict[str, int] = {}
    ranks = []
    for cpu in sorted(cpus, key=lambda cpu: (_rank_in_core(cpu), cpu.number)):
        turn = place[cpu.complex] = place.get(cpu.complex, 0) + 1
        ranks.append((turn, cpu.number, cpu))
    return [cpu for _, _, cpu in sorted(ranks, key=lambda rank: rank[:2])]


def _rank_in_core(cpu: Cpu) -> int:
    return sum(number < cpu.number for number in parse_cpu_list(cpu.core))


def _most_per(cpus: Sequence[Cpu], small: Callable[[Cpu], object], large: str) -> int:
    groups: dict[object, set[object]] = {}
    for cpu in cpus:
        groups.setdefault(getattr(cpu, large), set()).add(small(cpu))
    return max(map(len, groups.values()))


def topology_of(cpus: Sequence[Cpu]) -> MachineTopology:
    """Return the topology; every core, complex and die is taken to be as large as the largest."""
    return MachineTopology(
        threads_per_core=_most_per(cpus, lambda cpu: cpu.number, "core"),
        cores_per_complex=_most_per(cpus, lambda cpu: cpu.core, "complex"),
        complexes_per_die=_most_per(cpus, lambda cpu: cpu.complex, "die"),
        dies=len({cpu.die for cpu in cpus}),
    )


def transfers_of(found: dict[str, tuple[float, ...]]) -> tuple[Transfers, list[str]]:
    """Return the median latency of each distance, and the distances that the machine lacks.

    A missing distance gets the latency of the next one, which is not used on this machine.
    Raises InputError for a machine with one CPU.
    """
    known = {name: median(values) for name, values in found.items()}
    if not known:
        raise InputError("a machine with one CPU has no transfers between CPUs to measure")
    missing = [name for name in DISTANCES if name not in known]
    order = list(DISTANCES)
    values = {}
    for at, name in enumerate(DISTANCES):
        near = min(known, key=lambda other: abs(order.index(other) - at))
        values[name] = round(known.get(name, known[near]), 1)
    return Transfers(**values), missing


def arbitration_of(found: Measurement) -> tuple[Arbitration, str]:
    """Return the order in which contended atomics are served, and the reason as text.

    If they are served in order of arrival, an update takes about as long with all CPUs as with one
    of each complex. If it takes less than half of that, the nearest CPU is served first.
    """
    topology = topology_of(found.cpus)
    if topology.complexes_per_die * topology.dies < 2 or topology.cores_per_complex < 2:
        return "first-come", "no complex has several cores, so both orders are the same"
    few, many = found.contended[min(found.contended)], found.contended[max(found.contended)]
    text = (
        f"an update of a line takes {few:.1f} ns with {min(found.contended)} CPUs, one of each "
        f"complex, and {many:.1f} ns with all {max(found.contended)}; less than half counts as "
        "nearest-first"
    )
    return ("nearest-first" if many < few / 2 else "first-come"), text


def model_of(name: str, summary: str, source: str, found: Measurement) -> MachineModel:
    """Return the machine model of a measurement; `source`: the machine and the date.

    Its instructions per cycle are assumed to be 1; see `with_instructions`.
    """
    transfers, missing = transfers_of(found.transfers)
    topology = topology_of(found.cpus)
    arbitration, why = arbitration_of(found)
    core = found.core
    pairs = "; ".join(
        f"{distance_name} {min(values)} to {max(values)} in {len(values)} pairs"
        for distance_name, values in found.transfers.items()
    )
    absent = f"; not on this machine: {', '.join(missing)}" if missing else ""
    loads = ", ".join(f"{ns} ns in {kib} KiB" for kib, ns in found.latencies.items())
    return MachineModel(
        version=1,
        name=name,
        summary=summary,
        clock_mhz=round(core["clock_mhz"]),
        instructions_per_cycle=1.0,
        pause_cycles=core["pause_cycles"],
        atomic_cycles=core["atomic_cycles"],
        string_bytes_per_cycle=core["string_bytes_per_cycle"],
        smt_throughput=_SMT if topology.threads_per_core > 1 else 2.0,
        topology=topology,
        transfers=transfers,
        arbitration=arbitration,
        sources={
            "clock_mhz": f"{source}: a chain of dependent additions, one per cycle",
            "instructions_per_cycle": "an assumption, not a measurement: see threadripper-3970x",
            "pause_cycles": f"{source}: PAUSE, divided by the cycle time above",
            "atomic_cycles": f"{source}: LOCK XADD on a line that the core owns",
            "string_bytes_per_cycle": f"{source}: REP STOS over 16 KiB",
            "smt_throughput": "not measured: see threadripper-3970x",
            "topology": f"{source}: /sys/devices/system/cpu, CPUs that share a core, the "
            "third-level cache, a die",
            "transfers": f"{source}: compare-exchange ping-pong, half a round trip, medians: "
            f"{pairs}{absent}",
            "arbitration": f"{source}: {why}",
            "loads": f"{source}: dependent loads, {loads}; not used: `memory` is left out",
        },
    )


def with_instructions(model: MachineModel, source: str, per_cycle: float) -> MachineModel:
    """Return `model` with other instructions per cycle, with the reason in its sources."""
    reason = f"{source}: fitted to the measured time of a pair of vmalloc and vfree on one CPU"
    return model.model_copy(
        update={
            "instructions_per_cycle": round(per_cycle, 2),
            "sources": {**model.sources, "instructions_per_cycle": reason},
        }
    )
