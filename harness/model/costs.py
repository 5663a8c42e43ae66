"""Applies a machine's costs to a calibration: the cost of each step of a pair on N CPUs.

A pair is one allocation and its free. The steps are the locks that it takes, in order; what happens
between them is `think` time. A step's cost on many CPUs has three parts:

- its work, counted on one CPU;
- the hand-over of the lock: one transfer of its cache line from the CPU that had it last, and one
  more when a CPU was waiting (the queued spin lock passes the word and the waiter's own line);
- one transfer for each line that the step touches and that another CPU wrote since this CPU last
  was there. On one CPU these lines were counted by age in holds; with N CPUs that take turns, this
  CPU was there about N holds ago, so younger lines are stale with probability 1 - 1/N.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.model.calibration import ZONE_FUNCTIONS, ZONE_LOCK, CaseProfile, CpuWork, Site

NO_WORK = CpuWork(0, 0, 0)


@dataclass(frozen=True)
class MachineCosts:
    """Costs in ns, and how CPUs are placed; CPUs are numbered thread by thread.

    `transfer_ns`: a cache line from the same core, the same core complex, the same die, any other.
    `smt_factor`: how much longer work takes while the core's other thread works, too.
    `nearest_first`: how contended updates of one line are served (harness/model/line.py);
    `near_locks`: that locks are as well, as test-and-set locks would be and queued ones are not.
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
        """Return how long one CPU takes, alone on its core."""
        plain = work.instructions - work.atomics
        return (
            plain * self.instruction_ns + work.atomics * self.atomic_ns + work.bytes * self.byte_ns
        )

    def transfer(self, a: int, b: int) -> float:
        """Return what a line costs on its way from CPU `a` to CPU `b`, in ns."""
        if a == b:
            return 0.0
        if self.same_core(a, b):
            return self.transfer_ns[0]
        if self.same_complex(a, b):
            return self.transfer_ns[1]
        return self.transfer_ns[2 if a // self.cpus_per_die == b // self.cpus_per_die else 3]

    def mean_transfer_ns(self, cpus: int) -> float:
        """Return the mean over pairs of different CPUs."""
        others = [self.transfer(0, b) for b in range(1, cpus)]
        return sum(others) / len(others) if others else 0.0


@dataclass(frozen=True)
class PairStep:
    """A lock's hold, or a counter's update. `work_ns` alone; `stale`: lines to fetch, by scope."""

    work_ns: float
    lines: tuple[float, ...] = ()
    others: float = 0.0

    def stale(self, holds_ago: float, cpus: int) -> float:
        """Return the lines written by another of `cpus` since this CPU was here `holds_ago`."""
        count, low = 0.0, 0.0
        for bucket, lines in enumerate(self.lines):
            high = float(2**bucket)  # this bucket's lines are low < age <= high holds old
            count += lines * min(1.0, max(0.0, (holds_ago - low) / (high - low)))
            low = high
        return count * (1 - 1 / cpus)


@dataclass(frozen=True)
class PairCosts:
    """Every step of a pair. `visits` of the busy and lazy locks per pair follow from the design."""

    think_ns: float
    find: PairStep  # free_vmap_area_lock, lowest fit
    merge: PairStep  # free_vmap_area_lock, one purged area
    busy_insert: PairStep
    busy_unlink: PairStep
    lazy: PairStep
    pool_take: PairStep
    pool_add: PairStep  # one purged area
    counters: Mapping[str, float] = field(default_factory=dict)  # updates of a line per pair
    counter: PairStep = PairStep(0.0)
    others: Mapping[str, tuple[float, PairStep]] = field(default_factory=dict)  # visits per pair


_VMALLOC = ("alloc_vmap_area", "find_unlink_vmap_area", "free_vmap_area_noflush")
_FREE_LOCK = "free_vmap_area_lock"


def pair_costs(
    many: CaseProfile, single: CaseProfile, nodes: int, machine: MachineCosts
) -> PairCosts:
    """Return the steps at `nodes`; `single` has the global heap's, `many` those of nodes."""
    profile = single if nodes == 1 else many
    pairs = _visits(_at(profile, "free_vmap_area_noflush"))
    alloc = _at(profile, "alloc_vmap_area")
    busy = [s for s in alloc if _FREE_LOCK not in s.lock and (nodes == 1 or s.addresses > 1)]
    pools = [s for s in alloc if _FREE_LOCK not in s.lock and s.addresses == 1] if nodes > 1 else []
    finds = [s for s in alloc if _FREE_LOCK in s.lock]
    single_finds = [s for s in _at(single, "alloc_vmap_area") if _FREE_LOCK in s.lock]
    adds = _at(profile, "purge_vmap_node") if nodes > 1 else []
    # A purge takes the global lock once for all its areas.
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
    """Return locks of the rest of the kernel that all CPUs share, by name."""
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


# Once a tick, by one CPU, whatever the number of CPUs; reseeding of each CPU's generator; and what
# loading the module does once, whatever the number of loops (7.3: 1,071 page attributes).
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
    """Whether the hold is inside another that is counted already. None of the pair's own is."""
    return site.visits < 0.0001


def _at(profile: CaseProfile, function: str) -> list[Site]:
    return [site for site in profile.sites if site.caller.split("+")[0].split(".")[0] == function]


def _visits(sites: Iterable[Site]) -> float:
    return sum(site.visits for site in sites)


def _step(sites: list[Site], machine: MachineCosts, per: float | None = None) -> PairStep:
    """Return the mean hold over `sites`; with `per`, their whole work divided by that many."""
    visits = _visits(sites)
    if not visits:
        return PairStep(0.0)
    share = [(site, site.visits / (per or visits)) for site in sites]
    ages = len(sites[0].lines)
    lines = tuple(sum(site.lines[age] * part for site, part in share) for age in range(ages))
    work = sum((site.work * part for site, part in share), NO_WORK)
    others = sum(site.others * part for site, part in share)
    return PairStep(machine.work_ns(work), lines, others)
