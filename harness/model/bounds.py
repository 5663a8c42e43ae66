"""Bounds of the simulated throughput: asymptotic bounds, and mean-value analysis for comparison.

Asymptotic bounds of a closed queueing network (Lazowska et al., Quantitative System Performance,
1984, chapter 5) hold for all distributions: with N customers, think time Z and demands D,

    N / (Z + N * sum(D))  <=  X  <=  min(N / (Z + sum(D)), 1 / max(D))

Demands depend on which CPU had a cache line last, so the upper bound assumes the cheapest case (no
transfer, no busy sibling, every allocation from a pool) and the lower one the most expensive.
Mean-value analysis (Reiser and Lavenberg, 1980) assumes exponential service times; it is an
estimate, not a bound.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.model.costs import MachineCosts, PairCosts, PairStep
from harness.model.timing import Design


@dataclass(frozen=True)
class ThroughputBounds:
    """Bounds of the throughput, and the result of mean-value analysis, in pairs per second."""

    lower: float
    upper: float
    mean_value_analysis: float


@dataclass(frozen=True)
class _Station:
    """A lock, or `count` equal ones that share the visits. Demand in ns per pair: least to most."""

    low: float
    mean: float
    high: float
    count: int = 1


def predict_bounds(
    costs: PairCosts, machine: MachineCosts, design: Design, cpus: int
) -> ThroughputBounds:
    """Return the bounds of the throughput of `VmallocSimulation` with the same arguments."""
    stations = list(_stations(costs, machine, design, cpus).values())
    slow = machine.smt_factor if cpus > 1 else 1.0
    think = costs.think_ns
    lows = [each.low / each.count for each in stations]
    upper = cpus / (think + sum(each.low for each in stations))
    upper = min(upper, 1 / max(lows)) if max(lows) else upper
    lower = cpus / (think * slow + cpus * sum(each.high for each in stations))
    mean = _mean_value_analysis(think * (1 + slow) / 2, stations, cpus)
    return ThroughputBounds(lower * 1e9, upper * 1e9, mean * 1e9)


def _stations(
    costs: PairCosts, machine: MachineCosts, design: Design, cpus: int
) -> Mapping[str, _Station]:
    nodes = design.nodes
    slow = machine.smt_factor if cpus > 1 else 1.0
    far = max(machine.transfer_ns) if cpus > 1 else 0.0
    near = machine.mean_transfer_ns(cpus)

    def station(
        visits: float, step: PairStep, stale: float, count: int, queue: int = 2
    ) -> _Station:
        low = visits * step.work_ns
        mean = visits * (step.work_ns * (1 + slow) / 2 + (stale + (1 + queue) / 2) * near)
        high = visits * (step.work_ns * slow + (stale + queue) * far)
        return _Station(low, mean, high, count)

    def optional(always: bool, made: _Station) -> _Station:
        return made if always else _Station(0.0, 0.0, made.high)

    everywhere, twice = float(cpus), 2.0 * cpus
    found = {
        "find": optional(nodes == 1, station(1, costs.find, costs.find.stale(everywhere, cpus), 1)),
        "merge": optional(nodes == 1, station(1, costs.merge, costs.merge.others, 1)),
        "insert": station(1, costs.busy_insert, costs.busy_insert.stale(twice, cpus), nodes),
        "unlink": station(1, costs.busy_unlink, costs.busy_unlink.stale(twice, cpus), nodes),
        "lazy": station(1, costs.lazy, costs.lazy.stale(everywhere, cpus), min(nodes, cpus)),
        "take": optional(False, station(1, costs.pool_take, sum(costs.pool_take.lines), nodes)),
        "add": optional(False, station(1, costs.pool_add, costs.pool_add.others, nodes)),
    }
    for name, visits in costs.counters.items():
        found[name] = station(visits, costs.counter, 0.0, 1, queue=1)
    for name, (visits, step) in costs.others.items():
        found[name] = station(visits, step, step.stale(everywhere, cpus), 1)
    return found


def _mean_value_analysis(think: float, stations: list[_Station], customers: int) -> float:
    """Return the throughput, per ns, of exact MVA with delay `think` and queueing stations."""
    queues = [0.0] * len(stations)  # mean length at each of a station's `count` instances
    throughput = 0.0
    for number in range(1, customers + 1):
        stays = [s.mean * (1 + q) for s, q in zip(stations, queues, strict=True)]
        throughput = number / (think + sum(stays))
        queues = [throughput * stay / s.count for s, stay in zip(stations, stays, strict=True)]
    return throughput
