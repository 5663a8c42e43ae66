"""Predicts the throughput of several CPUs by discrete-event simulation of locks and pools.

Every CPU repeats a case's allocation and free. Locks are FIFO queues, and so are counters, unless
the machine serves contended lines nearest first. Events are processed in order of time, so a CPU
that arrives at a FIFO lock can be served as soon as the lock is free: one event per visit suffices,
and runs with equal arguments give identical results. A line that is served nearest first has its
own event whenever it becomes free, with an index after those of the CPUs. Think times vary by half,
so that CPUs do not run in lockstep.

Purges follow the design: they start when the lazy pages exceed lazy_max_pages, decay the pools, and
then fill them, or merge into the free space, node by node; helpers share the work if it is large.
"""

import heapq
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.model.allocator import decay_count
from harness.model.costs import MachineCosts, PairCosts, PairStep
from harness.model.line import LineRequest, WantedLine
from harness.testmod.cases import BY_SHORT_NAME, CASES, lazy_max_pages

SIZES = {case.short: case.areas for case in CASES if case.areas}
"""Sizes in pages, with guard page, that a case allocates equally often (lib/test_vmalloc.c)."""


@dataclass(frozen=True)
class Design:
    """The parameters of the allocator's design; see `harness.model.allocator.Rules`.

    `lazy_max`: in pages; None: as in the kernel for this number of CPUs.
    """

    nodes: int
    decay: float = 0.25
    spares_small_pools: bool = False  # as since Linux 6.19
    pool_limit_pages: int = 256
    zone_pages: int = 16
    lazy_max: int | None = None
    numa_local_nodes: int = 0  # > 0: number of groups; a CPU uses nodes of its group only


@dataclass(frozen=True)
class Prediction:
    """The predicted throughput of all CPUs. `utilisation`: by lock, mean over its instances."""

    cpus: int
    nodes: int
    case: str
    pairs_per_s: float
    utilisation: Mapping[str, float]
    bottleneck: str
    pool_hits: float  # share of allocations
    waiting: float  # share of all CPU time spent waiting for locks and lines
    purges: int


@dataclass
class _Resources:
    """All locks, by index; a group is a single lock or one per node."""

    free_at: list[float] = field(default_factory=list)
    owner: list[int] = field(default_factory=list)
    busy_ns: list[float] = field(default_factory=list)
    groups: dict[str, range] = field(default_factory=dict)

    def add(self, name: str, count: int = 1) -> int:
        first = len(self.free_at)
        self.free_at += [0.0] * count
        self.owner += [0] * count
        self.busy_ns += [0.0] * count
        self.groups[name] = range(first, first + count)
        return first


ALLOCATION, SPREAD, OWN, ONE, COUNTER = range(5)
"""Which lock a step takes: of pool or free space, any node's, the CPU's node's, a single one."""

_Step = tuple[int, int, float, float, float, float]
"""Scope, first lock, work in ns, stale lines, probability, think time afterwards in ns."""

FREE, BUSY, LAZY, POOL = "free_vmap_area_lock", "busy.lock", "lazy.lock", "pool_lock"


class VmallocSimulation:
    """A simulation of a case on a machine."""

    def __init__(
        self,
        costs: PairCosts,
        machine: MachineCosts,
        design: Design,
        cpus: int,
        case: str,
        seed: int = 1,
    ):
        """`costs`: for `design.nodes` nodes; `seed`: of think times and probabilities."""
        self._costs, self._design, self._cpus = costs, design, cpus
        self._case, self._random = case, random.Random(seed)  # noqa: S311  (a model's dice)
        self._transfer = [[machine.transfer(a, b) for b in range(cpus)] for a in range(cpus)]
        self._mean_transfer = machine.mean_transfer_ns(cpus)
        self._smt, self._near = machine.smt_factor, machine.same_complex
        self._jitter = 1.0 if cpus > 1 else 0.0
        siblings = machine.threads_per_core
        pairs = [cpu ^ 1 if siblings == 2 and cpu ^ 1 < cpus else cpu for cpu in range(cpus)]
        self._sibling = pairs
        self._locks = _Resources()
        nodes = design.nodes
        self._free = self._locks.add(FREE)
        self._busy = self._locks.add(BUSY, nodes)
        self._lazy = self._locks.add(LAZY, nodes)
        self._pool = self._locks.add(POOL, nodes)
        self._shared = [self._locks.add(name) for name in (*costs.counters, *costs.others)]
        counters = self._shared[: len(costs.counters)] if machine.nearest_first else []
        served = range(len(self._locks.free_at)) if machine.near_locks else counters
        self._lines = {lock: WantedLine(machine) for lock in served}
        self._counters = frozenset(self._shared[: len(costs.counters)])
        self._heap: list[tuple[float, int]] = []
        self._limit = design.lazy_max or lazy_max_pages(cpus)
        self._sizes = SIZES[case]
        self._pools = [[0] * len(self._sizes) for _ in range(nodes)]
        self._lazies = [[0] * len(self._sizes) for _ in range(nodes)]
        self._node_of = [_node_of_cpu(cpu, cpus, design) for cpu in range(cpus)]
        self._lazy_pages = 0
        self._purging = 0  # tasks of the current purge
        self._tasks: list[list[tuple[int, list[int]]]] = [[] for _ in range(cpus)]
        self._wait_from, self._wait_to = [0.0] * cpus, [0.0] * cpus
        self._begin_measuring(0.0)
        self._program = self._steps()
        self._holding: list[int] = [0] * cpus  # size index of the CPU's area
        self._zone_node = [0] * cpus  # and the node of its address
        self._cursor = 0  # pages allocated from the free space so far

    def run(self, pairs: int) -> Prediction:
        """Simulate `pairs` allocations and frees; measure the second half."""
        program, last = self._program, len(self._program)
        step_of, holding, sizes = [0] * self._cpus, self._holding, len(self._sizes)
        chance, advance, visit = self._random.random, heapq.heapreplace, self._visit
        heap = self._heap = [(chance(), cpu) for cpu in range(self._cpus)]
        heapq.heapify(heap)
        done, half = 0, pairs // 2
        while done < pairs:
            now, cpu = heap[0]
            if cpu >= self._cpus:
                self._serve(now, cpu - self._cpus)
                continue
            step = step_of[cpu]
            if step < last:
                if not step and sizes > 1:
                    holding[cpu] = int(chance() * sizes)
                step_of[cpu] = step + 1
                after = visit(now, cpu, program[step])
                if after == math.inf:
                    heapq.heappop(heap)  # _serve() resumes it
                else:
                    advance(heap, (after, cpu))
                continue
            if step == last:  # the pair has ended; a purge may follow, in one task at a time
                done += 1
                if done == half:
                    self._begin_measuring(now)
                now = self._finish_pair(now, cpu)
            else:
                now = self._purge_node(now, cpu, *self._tasks[cpu].pop(0))
            step_of[cpu] = last + 1 if self._tasks[cpu] else 0
            advance(heap, (now, cpu))
        return self._predict(pairs - half, heap[0][0])

    def _begin_measuring(self, now: float) -> None:
        self._began, self._busy_before = now, list(self._locks.busy_ns)
        self._waited = 0.0
        self._hits = self._allocations = self._purges = 0

    def _steps(self) -> list[_Step]:
        """Return the steps of a pair, in order."""
        costs, cpus, nodes = self._costs, self._cpus, self._design.nodes
        own = max(1.0, cpus / nodes)  # CPUs that share a node
        once, twice = float(cpus), 2.0 * cpus  # holds of a shared lock since this CPU's last one
        steps = [
            (ALLOCATION, 0, 0.0, 0.0, 1.0),
            (
                SPREAD,
                self._busy,
                costs.busy_insert.work_ns,
                costs.busy_insert.stale(twice, cpus),
                1.0,
            ),
        ]
        for lock, (scope, visits, step) in zip(self._shared, self._shared_steps(), strict=True):
            stale = step.stale(max(1.0, visits) * cpus, cpus)
            whole = int(visits)
            steps += [(scope, lock, step.work_ns, stale, 1.0)] * whole
            if visits - whole > 0.001:
                steps.append((scope, lock, step.work_ns, stale, visits - whole))
        unlink, lazy = costs.busy_unlink, costs.lazy
        steps.append((SPREAD, self._busy, unlink.work_ns, unlink.stale(twice, cpus), 1.0))
        lazy_stale = lazy.stale(once if nodes == 1 else own, cpus) if own > 1 else 0.0
        steps.append((OWN, self._lazy, lazy.work_ns, lazy_stale, 1.0))
        think = costs.think_ns / len(steps)
        return [(*step, think) for step in steps]

    def _shared_steps(self) -> list[tuple[int, float, PairStep]]:
        costs = self._costs
        counters = [(COUNTER, visits, costs.counter) for visits in costs.counters.values()]
        return counters + [(ONE, visits, step) for visits, step in costs.others.values()]

    def _visit(self, now: float, cpu: int, step: _Step) -> float:
        """Return when `cpu` has waited for the step's lock, held it, and thought; inf if it waits
        for a line that is served nearest first.

        The CPU arrives at `now`, and not later, or others would queue behind a CPU that has not
        arrived yet. A hand-over takes a transfer of the lock's line, and another of the waiter's
        own line if the CPU had to wait; counters have no queue.
        """
        scope, lock, work, stale, probability, think = step
        chance, locks = self._random.random, self._locks
        other = self._sibling[cpu]
        if other != cpu and not self._wait_from[other] <= now < self._wait_to[other]:
            think *= self._smt
            work *= self._smt
        think *= 1 + self._jitter * (chance() - 0.5)
        if probability < 1.0 and chance() > probability:
            return now + think
        if scope == SPREAD:
            lock += self._zone_node[cpu]
        elif scope == OWN:
            lock += self._node_of[cpu]
        elif scope == ALLOCATION:
            lock, work, stale = self._allocate(cpu)
        start, owner = locks.free_at[lock], locks.owner[lock]
        cost = work + stale * self._mean_transfer
        if lock in self._lines and self._waits(lock, LineRequest(now, cpu, work, think, stale)):
            return math.inf
        if start > now:
            self._wait_from[cpu], self._wait_to[cpu] = now, start
            self._waited += start - now
            if owner != cpu and scope != COUNTER:
                cost += self._transfer[owner][cpu]
        else:
            start = now
        if owner != cpu:
            cost += self._transfer[owner][cpu]
            if lock in self._lines:
                self._lines[lock].moves(owner, cpu, start + cost)
            locks.owner[lock] = cpu
        locks.free_at[lock] = start + cost
        locks.busy_ns[lock] += cost
        return start + cost + think

    def _waits(self, lock: int, request: LineRequest) -> bool:
        """Return whether the line of a counter is in use; if so, queue the request."""
        line, free_at = self._lines[lock], self._locks.free_at[lock]
        if not line and free_at <= request.asked_ns:
            return False
        if not line:
            heapq.heappush(self._heap, (free_at, self._cpus + lock))
        self._wait_from[request.cpu], self._wait_to[request.cpu] = request.asked_ns, math.inf
        line.ask(request)
        return True

    def _serve(self, now: float, lock: int) -> None:
        """Serve the next request for a free line, and schedule when it is free again."""
        line, locks = self._lines[lock], self._locks
        owner = locks.owner[lock]
        request = line.next(owner)
        cpu = request.cpu
        self._wait_to[cpu] = now
        self._waited += now - request.asked_ns
        transfer = self._transfer[owner][cpu]
        line.moves(owner, cpu, now + transfer)
        # Lines in the cache of a CPU of the same complex are fetched from there.
        near = owner != cpu and self._near(owner, cpu)
        cost = request.work_ns + request.stale * (transfer if near else self._mean_transfer)
        cost += transfer if lock in self._counters else 2 * transfer
        locks.owner[lock] = cpu
        locks.free_at[lock] = now + cost
        locks.busy_ns[lock] += cost
        if line:
            heapq.heapreplace(self._heap, (now + cost, self._cpus + lock))
        else:
            heapq.heappop(self._heap)
        heapq.heappush(self._heap, (now + cost + request.think_ns, cpu))

    def _allocate(self, cpu: int) -> tuple[int, float, float]:
        """Return lock, work and stale lines of an allocation from the pool or the free space."""
        costs, size, node = self._costs, self._holding[cpu], self._node_of[cpu]
        self._allocations += 1
        pool, nodes = self._pools[node], self._design.nodes
        if self._design.nodes > 1 and pool[size]:
            missed = BY_SHORT_NAME[self._case].misaligned
            if not missed or self._random.random() >= missed:
                pool[size] -= 1
                self._hits += 1
                self._zone_node[cpu] = int(self._random.random() * nodes)
                # The CPU of the last purge wrote these lines, at any time before.
                stale = sum(costs.pool_take.lines) * (1 - 1 / self._cpus)
                return self._pool + node, costs.pool_take.work_ns, stale
        # Successive allocations from the free space are adjacent, so they have the same zone node.
        self._zone_node[cpu] = self._cursor // self._design.zone_pages % nodes
        self._cursor += self._sizes[size]
        return self._free, costs.find.work_ns, costs.find.stale(float(self._cpus), self._cpus)

    def _finish_pair(self, now: float, cpu: int) -> float:
        """Account for the freed area and start a purge if due; return when the CPU continues."""
        size = self._holding[cpu]
        self._lazies[self._node_of[cpu]][size] += 1
        self._lazy_pages += self._sizes[size]
        if self._lazy_pages > self._limit and not self._purging:
            now = self._start_purge(now, cpu)
        return now

    def _start_purge(self, now: float, cpu: int) -> float:
        """Decay the pools and distribute the nodes (`__purge_vmap_area_lazy`); return the end."""
        self._purges += 1
        decayed = 0
        for pool in self._pools:
            for size, length in enumerate(pool):
                loss = decay_count(length, self._design.decay, self._design.spares_small_pools)
                pool[size] -= loss
                decayed += loss
        if decayed:
            now = self._merge(now, cpu, decayed)
        work = [(node, lazy) for node, lazy in enumerate(self._lazies) if any(lazy)]
        self._lazies = [[0] * len(self._sizes) for _ in range(self._design.nodes)]
        helpers = max(1, min(self._lazy_pages // self._limit, len(work))) - 1
        self._purging = len(work)
        for node, lazy in work[:helpers]:
            self._tasks[node % self._cpus].append((node, lazy))
        self._tasks[cpu] += work[helpers:]
        return now

    def _purge_node(self, now: float, cpu: int, node: int, lazy: list[int]) -> float:
        """Move areas to pools or the free space (`purge_vmap_node`); return the end."""
        back, pooled = 0, 0
        for size, count in enumerate(lazy):
            fits = self._sizes[size] <= self._design.pool_limit_pages
            if self._design.nodes > 1 and fits:
                self._pools[node][size] += count
                pooled += count
            else:
                back += count
            self._lazy_pages -= count * self._sizes[size]
        if pooled:
            step = self._costs.pool_add
            stale = step.others * (1 - 1 / self._cpus) * pooled
            now = self._visit(
                now, cpu, (ONE, self._pool + node, step.work_ns * pooled, stale, 1.0, 0.0)
            )
        if back:
            now = self._merge(now, cpu, back)
        self._purging -= 1
        return now

    def _merge(self, now: float, cpu: int, areas: int) -> float:
        """Merge areas in one hold of the global lock (`reclaim_list_global`); return the end."""
        step = self._costs.merge
        stale = step.others * (1 - 1 / self._cpus) * areas
        return self._visit(now, cpu, (ONE, self._free, step.work_ns * areas, stale, 1.0, 0.0))

    def _predict(self, pairs: int, now: float) -> Prediction:
        elapsed_ns = now - self._began
        used = [b - a for a, b in zip(self._busy_before, self._locks.busy_ns, strict=True)]
        utilisation = {
            name: sum(used[lock] for lock in group) / len(group) / elapsed_ns
            for name, group in self._locks.groups.items()
        }
        top = max(utilisation, key=lambda name: utilisation[name])
        share = self._waited / (elapsed_ns * self._cpus)
        bottleneck = top if share > 0.25 or utilisation[top] > 0.7 else "the CPUs' own work"
        return Prediction(
            cpus=self._cpus,
            nodes=self._design.nodes,
            case=self._case,
            pairs_per_s=pairs / elapsed_ns * 1e9,
            utilisation={name: round(share, 4) for name, share in utilisation.items()},
            bottleneck=bottleneck,
            pool_hits=self._hits / self._allocations if self._allocations else 0.0,
            waiting=share,
            purges=self._purges,
        )


def _node_of_cpu(cpu: int, cpus: int, design: Design) -> int:
    """Return the CPU's node: cpu % nodes, or a node of its group with `numa_local_nodes`."""
    groups = design.numa_local_nodes
    if not groups:
        return cpu % design.nodes
    per_group, cpus_per_group = max(1, design.nodes // groups), max(1, cpus // groups)
    return (cpu // cpus_per_group * per_group + cpu % per_group) % design.nodes
