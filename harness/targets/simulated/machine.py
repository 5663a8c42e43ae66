"""Machine models: the costs on a simulated machine, in the units of their sources."""

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import platformdirs
from pydantic import Field, model_validator

from harness.errors import InputError
from harness.spec.document import Document, parse_document

MACHINES = files("harness.targets.simulated") / "machines"

# The plugin counts in ticks of 1/1024 cycle (plugin/sim.h).
TICKS_PER_CYCLE = 1024
# How far a vCPU may run ahead of the slowest one. Causality is preserved for any value (see
# plugin/coherence.c), but a vCPU that reaches a line late waits for one that was early, so a long
# quantum inflates contention; docs/explanation/simulated.md has the figures.
QUANTUM_NS = 100
FAST_QUANTUM_NS = 100_000  # while memory accesses are not simulated: the plugin's fast mode
SAMPLE_NS = 10_000
LINE = 64  # bytes of a cache line


class MachineTopology(Document):
    """How many units each larger unit has. vCPUs are numbered by thread, core, complex, die."""

    threads_per_core: Annotated[int, Field(ge=1, le=8)] = 1
    cores_per_complex: Annotated[int, Field(ge=1)] = 1
    complexes_per_die: Annotated[int, Field(ge=1)] = 1
    dies: Annotated[int, Field(ge=1)] = 1  # a guest with more CPUs gets more of them


class Transfers(Document):
    """Latency of taking a cache line from the core that wrote it last, in ns, by distance."""

    same_core_ns: Annotated[float, Field(ge=0)]
    same_complex_ns: Annotated[float, Field(ge=0)]
    same_die_ns: Annotated[float, Field(ge=0)]
    other_die_ns: Annotated[float, Field(ge=0)]


class Memory(Document):
    """Caches and memory of a core: the cost of lines that miss in L2 and no other core wrote."""

    l2_kib: Annotated[int, Field(ge=64, le=16_384)]
    l2_ways: Annotated[int, Field(ge=1, le=32)]
    l3_mib: Annotated[int, Field(ge=1, le=1024)]  # of a core complex
    l3_ways: Annotated[int, Field(ge=1, le=32)]
    l3_ns: Annotated[float, Field(gt=0)]
    dram_ns: Annotated[float, Field(gt=0)]
    tlb_entries: Annotated[int, Field(ge=16, le=65_536)]  # of the second-level TLB of a core
    walk_ns: Annotated[float, Field(ge=0)]  # with cached page tables

    @model_validator(mode="after")
    def _sets_are_a_power_of_two(self) -> Self:
        sets, rest = divmod(self.l2_kib * 1024 // LINE, self.l2_ways)
        if rest or sets & (sets - 1):
            raise ValueError(
                f"l2_kib {self.l2_kib} with {self.l2_ways} ways gives {sets} sets: "
                "the number of sets must be a power of two"
            )
        return self


# The order in which concurrent atomics get a cache line (plugin/arbitration.c).
Arbitration = Literal["first-come", "nearest-first"]


class MachineModel(Document):
    """A machine model: topology and costs. `sources`: for each figure, where it was published."""

    version: Literal[1]
    name: str
    summary: str
    clock_mhz: Annotated[int, Field(ge=100, le=10_000)]
    instructions_per_cycle: Annotated[float, Field(gt=0, le=8)]
    pause_cycles: Annotated[float, Field(ge=0)]
    atomic_cycles: Annotated[float, Field(ge=0)]
    string_bytes_per_cycle: Annotated[float, Field(gt=0)]
    # Throughput of two threads on a core together, relative to one alone: 1 = they alternate, 2 =
    # they do not affect each other.
    smt_throughput: Annotated[float, Field(ge=1, le=2)] = 2.0
    topology: MachineTopology = MachineTopology()
    transfers: Transfers
    memory: Memory | None = None  # None: lines that a core has had are free
    arbitration: Arbitration = "first-come"
    sources: dict[str, str]


def machine_folders() -> tuple[Path, ...]:
    """Return the folders that are searched for machine models before the package's, in order."""
    return (Path("playbooks/machines"), platformdirs.user_config_path("vmapbench") / "machines")


def machine_files(folders: Iterable[Path] | None = None) -> dict[str, Traversable]:
    """Return name -> file of each machine model.

    A model in an earlier folder replaces one of the same name in a later one or in the package.
    """
    places: list[Traversable] = [*(folders if folders is not None else machine_folders()), MACHINES]
    found: dict[str, Traversable] = {}
    for place in places:
        entries = place.iterdir() if place.is_dir() else ()
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.endswith(".yaml"):
                found.setdefault(entry.name.removesuffix(".yaml"), entry)
    return found


def load_machine(name: str, folders: Iterable[Path] | None = None) -> MachineModel:
    """Return the machine model `name`. Raises InputError if it is unknown, SpecError if invalid."""
    found = machine_files(folders)
    if name not in found:
        known = ", ".join(sorted(found))
        raise InputError(f"target.machine: unknown machine model {name!r}; expected one of {known}")
    path = found[name]
    return parse_document(path.read_text(encoding="utf-8"), MachineModel, str(path), name=name)


def with_arbitration(machine: MachineModel, arbitration: str | None) -> MachineModel:
    """Return `machine` with another arbitration, or unchanged for None.

    Raises InputError if `arbitration` is unknown.
    """
    if arbitration is None:
        return machine
    if arbitration not in get_args(Arbitration):
        known = ", ".join(get_args(Arbitration))
        raise InputError(f"unknown arbitration {arbitration!r}; expected one of {known}")
    return machine.model_copy(update={"arbitration": arbitration})


def spread(machine: MachineModel, jobs: int) -> MachineModel:
    """Return the topology of a guest with `jobs` CPUs that are spread evenly over the machine.

    As a scheduler would: first one job per complex, then more cores of it, then second threads.
    Raises ValueError if the complexes would get different numbers, or the machine has fewer CPUs.
    """
    whole = machine.topology
    complexes = min(jobs, whole.complexes_per_die * whole.dies)
    each, rest = divmod(jobs, complexes)
    threads = -(-each // whole.cores_per_complex)
    if rest or each % threads or threads > whole.threads_per_core:
        raise ValueError(f"{jobs} jobs cannot be spread evenly over {machine.name}")
    topology = whole.model_copy(
        update={"threads_per_core": threads, "cores_per_complex": each // threads}
    )
    return machine.model_copy(update={"topology": topology})


def plugin_options(machine: MachineModel) -> dict[str, int]:
    """Return the machine model as options of the plugin: costs in ticks, numbers of vCPUs."""
    per_core = machine.topology.threads_per_core
    per_complex = per_core * machine.topology.cores_per_complex
    transfers, nearest_first = machine.transfers, int(machine.arbitration == "nearest-first")
    return {
        "clock_mhz": machine.clock_mhz,
        "instruction": _ticks(1 / machine.instructions_per_cycle),
        "pause": _ticks(machine.pause_cycles),
        "atomic": _ticks(machine.atomic_cycles),
        "rep_byte": _ticks(1 / machine.string_bytes_per_cycle),
        # With the other thread of its core busy, a thread takes 2 / throughput times as long.
        "smt_extra": round((2 / machine.smt_throughput - 1) * 1024),
        "transfer_smt": ticks_of_ns(transfers.same_core_ns, machine),
        "transfer_ccx": ticks_of_ns(transfers.same_complex_ns, machine),
        "transfer_die": ticks_of_ns(transfers.same_die_ns, machine),
        "transfer_package": ticks_of_ns(transfers.other_die_ns, machine),
        # Separate switches for ablations; first-come is the older model in all three.
        "nearest_first": nearest_first,
        "near_copies": nearest_first,
        "idle_stalls": nearest_first,
        "per_core": per_core,
        "per_ccx": per_complex,
        "per_die": per_complex * machine.topology.complexes_per_die,
        "quantum": ticks_of_ns(QUANTUM_NS, machine),
        "fast_quantum": ticks_of_ns(FAST_QUANTUM_NS, machine),
        "sample": ticks_of_ns(SAMPLE_NS, machine),
        **(_memory_options(machine.memory, machine) if machine.memory else {}),
    }


def _memory_options(memory: Memory, machine: MachineModel) -> dict[str, int]:
    return {
        "l2_lines": memory.l2_kib * 1024 // LINE,
        "l2_ways": memory.l2_ways,
        "l3_lines": memory.l3_mib * 1024 * 1024 // LINE,
        "l3_ways": memory.l3_ways,
        "tlb_entries": memory.tlb_entries,
        "l3": ticks_of_ns(memory.l3_ns, machine),
        "memory": ticks_of_ns(memory.dram_ns, machine),
        "walk": ticks_of_ns(memory.walk_ns, machine),
        # Models without memory still charge each element, as for the published results.
        "charge_strings": 1,
    }


def _ticks(cycles: float) -> int:
    return round(cycles * TICKS_PER_CYCLE)


def ticks_of_ns(ns: float, machine: MachineModel) -> int:
    """Return the plugin's ticks in `ns` of virtual time."""
    return round(ns * machine.clock_mhz / 1000 * TICKS_PER_CYCLE)
