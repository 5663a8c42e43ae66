"""Applies a machine's costs to a calibration: the cost of each step of a pair on N CPUs.

A pair is an allocation and its free. The steps are the locks that it takes, in order; the time
between them is `think` time. The cost of a step on several CPUs has three parts:

- its work, counted on one CPU;
- the hand-over of the lock: a transfer of its cache line from the last holder, and a second one if
  a CPU was waiting (the queued spin lock passes the lock word and the waiter's own line);
- a transfer for each line that the step touches and that another CPU has written since this CPU
  held the lock. These lines were counted on one CPU by age in holds; with N CPUs that alternate,
  this CPU's last hold is about N holds ago, so younger lines are stale with probability 1 - 1/N.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.model.calibration import ZONE_FUNCTIONS, ZONE_LOCK, CaseProfile, CpuWork, Site

NO_WORK = CpuWork(0, 0, 0)


@dataclass(frozen=True)
class MachineCosts:
    """Costs in ns, and the topology; CPUs are numbered by thread, core, complex, die.

    `transfer_ns`: of a cache line from the same core, the same core complex, the same die, another
    die. `smt_factor`: slowdown while the core's other thread is busy. `nearest_first`: contended
    updates of a line are served so (harness/model/line.py); `near_locks`: locks as well, like
    test-and-set locks and unlike queued ones.
    """

    name: str
    instruction_ns: float
    atomic_ns: float
    byte_ns: float
    transfer_ns: tuple[float, float, float, float]
    threads_per_core: int = 1
    cpus_per_complex: int = 1
    cpus_per_die: int = 1
    smt_factor: float = 1.0
    nearest_first: bool = False
    near_locks: bool = False

    def same_core(self, a: int, b: int) -> bool:
        """Return whether CPUs `a` and `b` are threads of one core."""
        return a // self.threads_per_core == b // self.threads_per_core

    def same_complex(self, a: int, b: int) -> bool:
        """Return whether CPUs `a` and `b` share a core complex."""
        return a // self.cpus_per_complex == b // self.cpus_per_complex

    def work_ns(self, work: CpuWork) -> float:
        """Return the time in ns of a CPU whose core has no other busy thread."""
        plain = work.instructions - work.atomics
        return (
            plain * self.instruction_ns + work.atomics * self.atomic_ns + work.bytes * self.byte_ns
        )

    def transfer(self, a: int, b: int) -> float:
        """Return the time in ns of transferring a cache line from CPU `a` to CPU `b`."""
        if a == b:
            return 0.0
        if self.same_core(a, b):
            return self.transfer_ns[0]
        if self.same_complex(a, b):
            return self.transfer_ns[1]
        return self.transfer_ns[2 if a // self.cpus_per_die == b // self.cpus_per_die else 3]

    def mean_transfer_ns(self, cpus: int) -> float:
        """Return the mean transfer time in ns over all pairs of different CPUs."""
        others = [self.transfer(0, b) for b in range(1, cpus)]
        return sum(others) / len(others) if others else 0.0


@dataclass(frozen=True)
class PairStep:
    """A hold of a lock or an update of a counter.

    `work_ns`: without transfers; `lines`, `others`: as in `Site`, of one visit.
    """

    work_ns: float
    lines: tuple[float, ...] = ()
    others: float = 0.0

    def stale(self, holds_ago: float, cpus: int) -> float:
        """Return the expected number of lines that others of `cpus` wrote since `holds_ago`."""
        count, low = 0.0, 0.0
        for bucket, lines in enumerate(self.lines):
            high = float(2**bucket)  # ages in this bucket: low < age <= high
            count += lines * min(1.0, max(0.0, (holds_ago - low) / (high - low)))
            low = high
        return count * (1 - 1 / cpus)


@dataclass(frozen=True)
class PairCosts:
    """The costs of all steps of a pair."""

    think_ns: float
    find: PairStep  # free_vmap_area_lock: search for the lowest fit
    merge: PairStep  # free_vmap_area_lock: per purged area
    busy_insert: PairStep
    busy_unlink: PairStep
    lazy: PairStep
    pool_take: PairStep
    pool_add: PairStep  # per purged area
    counters: Mapping[str, float] = field(default_factory=dict)  # updates of a line per pair
    counter: PairStep = PairStep(0.0)
    others: Mapping[str, tuple[float, PairStep]] = field(default_factory=dict)  # visits per pair


_VMALLOC = ("alloc_vmap_area", "find_unlink_vmap_area", "free_vmap_area_noflush")
_FREE_LOCK = "free_vmap_area_lock"


def pair_costs(
    many: CaseProfile, single: CaseProfile, nodes: int, machine: MachineCosts
) -> PairCosts:
    """Return the costs with `nodes` nodes.

    `single`: profile with one node, for the steps of the global free space; `many`: profile with
    many, for those of nodes.
    """
    profile = single if nodes == 1 else many
    pairs = _visits(_at(profile, "free_vmap_area_noflush"))
    alloc = _at(profile, "alloc_vmap_area")
    busy = [s for s in alloc if _FREE_LOCK not in s.lock and (nodes == 1 or s.addresses > 1)]
    pools = [s for s in alloc if _FREE_LOCK not in s.lock and s.addresses == 1] if nodes > 1 else []
    finds = [s for s in alloc if _FREE_LOCK in s.lock]
    single_finds = [s for s in _at(single, "alloc_vmap_area") if _FREE_LOCK in s.lock]
    adds = _at(profile, "purge_vmap_node") if nodes > 1 else []
    # A purge takes the global lock only once for all areas.
    areas = _visits(_at(single, "free_vmap_area_noflush"))
    merges = _at(single, "reclaim_list_global")
    held = sum((s.work * s.visits for s in profile.sites if not _nested(s)), NO_WORK)
    think = (profile.work + held * -1.0) * (1 / pairs)
    return PairCosts(
        think_ns=max(machine.work_ns(think), 0.0),
        find=_step(finds or single_finds, machine),
        merge=_step(merges, machine, per=areas),
        busy_insert=_step(busy, machine),
        busy_unlink=_step(_at(profile, "find_unlink_vmap_area"), machine),
        lazy=_step(_at(profile, "free_vmap_area_noflush"), machine),
        pool_take=_step(pools, machine),
        pool_add=_step(adds, machine),
        counters={name: c / pairs for name, c in profile.atomics.items() if c > 0.5},
        counter=PairStep(machine.atomic_ns),
        others=_other_locks(profile, pairs, machine),
    )


def _other_locks(
    profile: CaseProfile, pairs: float, machine: MachineCosts
) -> dict[str, tuple[float, PairStep]]:
    """Return name -> (visits per pair, step) of shared locks in the rest of the kernel."""
    found: dict[str, tuple[float, PairStep]] = {}
    for site in profile.sites:
        function, name = site.caller.split("+")[0], site.lock.split("+")[0]
        if function in ZONE_FUNCTIONS:
            name = ZONE_LOCK
        elif not name or name in ("single", _FREE_LOCK) or function in _NOT_SHARED:
            continue
        visits, step = site.visits / pairs, _step([site], machine)
        if visits * step.work_ns > 0.5:
            found[f"{name} in {function}"] = (visits, step)
    return found


# Left out: work per tick, by one CPU for any number of CPUs; reseeding of each CPU's random number
# generator; and work per load of the module, for any number of loops (7.3: 1,071 page attributes).
_NOT_SHARED = (
    "timekeeping_advance",
    "update_wall_time",
    "__change_page_attr_set_clr",
    "change_page_attr_set_clr",
    "crng_make_state",
    "extract_entropy.constprop.0",
    "crng_reseed",
)


def _nested(site: Site) -> bool:
    """Return whether the hold is within one that is already counted; no step of a pair is."""
    return site.visits < 0.0001


def _at(profile: CaseProfile, function: str) -> list[Site]:
    return [site for site in profile.sites if site.caller.split("+")[0].split(".")[0] == function]


def _visits(sites: Iterable[Site]) -> float:
    return sum(site.visits for site in sites)


def _step(sites: list[Site], machine: MachineCosts, per: float | None = None) -> PairStep:
    """Return the mean hold over `sites`; with `per`, their total work divided by `per`."""
    visits = _visits(sites)
    if not visits:
        return PairStep(0.0)
    share = [(site, site.visits / (per or visits)) for site in sites]
    ages = len(sites[0].lines)
    lines = tuple(sum(site.lines[age] * part for site, part in share) for age in range(ages))
    work = sum((site.work * part for site, part in share), NO_WORK)
    others = sum(site.others * part for site, part in share)
    return PairStep(machine.work_ns(work), lines, others)
