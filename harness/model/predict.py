"""Predicts curves over CPU counts and sweeps of the design, for `vmapbench predict` and pages."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from statistics import fmean
from typing import Any

from harness.errors import InputError
from harness.model.bounds import ThroughputBounds, predict_bounds
from harness.model.calibration import Calibration, parse_calibration
from harness.model.costs import MachineCosts, pair_costs
from harness.model.timing import SIZES, Design, Prediction, VmallocSimulation
from harness.testmod.cases import BY_SHORT_NAME

PAGE_BYTES = 4096
PAIRS = 120_000
"""Pairs per simulation: enough for several purges at 256 CPUs, and takes 1 to 2 seconds."""

SWEEPS = ("decay", "nodes", "pool_limit_pages", "zone_pages", "lazy_max", "numa_local_nodes")


@dataclass(frozen=True)
class BoundedPrediction:
    """A prediction and its bounds."""

    prediction: Prediction
    bounds: ThroughputBounds


@dataclass(frozen=True)
class CurvePoint:
    """The predictions with one node and with many at a number of CPUs."""

    case: str
    cpus: int
    single: BoundedPrediction
    many: BoundedPrediction

    @property
    def ratio(self) -> float:
        """Throughput with many nodes divided by that with one."""
        return self.many.prediction.pairs_per_s / self.single.prediction.pairs_per_s


def load_calibration(name: str = "linux-6.12") -> Calibration:
    """Return a calibration of the package. Raises InputError if it is unknown."""
    folder = files("harness.model") / "calibrations"
    path = folder / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(entry.name.removesuffix(".json") for entry in folder.iterdir()))
        raise InputError(f"unknown calibration {name!r}; expected one of {known}")
    return parse_calibration(path.read_text(encoding="utf-8"), name)


def predict_point(
    calibration: Calibration,
    machine: MachineCosts,
    case: str,
    cpus: int,
    design: Design,
    pairs: int = PAIRS,
    *,
    cleared: bool = False,
) -> BoundedPrediction:
    """Return the prediction for one number of CPUs and design, with bounds.

    `cleared`: allocated pages are cleared, as with init_on_alloc=1. Raises InputError if the
    calibration lacks `case`.
    """
    profiles = calibration.cases.get(case)
    if profiles is None or case not in SIZES:
        known = ", ".join(sorted(calibration.cases))
        raise InputError(f"case {case!r} is not calibrated; expected one of {known}")
    costs = pair_costs(profiles["many"], profiles["1"], design.nodes, machine)
    if cleared:
        pages = fmean(SIZES[case]) - 1  # without the guard page
        costs = replace(costs, think_ns=costs.think_ns + pages * PAGE_BYTES * machine.byte_ns)
    prediction = VmallocSimulation(costs, machine, design, cpus, case).run(pairs)
    return BoundedPrediction(prediction, predict_bounds(costs, machine, design, cpus))


def pairs_per_loop(case: str, cpus: int, loops: int) -> float:
    """Return the mean number of allocations per loop, including those before the first loop.

    Some cases first allocate thousands of areas (harness/testmod/cases.py).
    """
    row = BY_SHORT_NAME[case]
    return row.pairs + row.prepared(cpus) / loops


def predict_curve(
    calibration: Calibration,
    machine: MachineCosts,
    case: str,
    cpus: Sequence[int],
    pairs: int = PAIRS,
    fixed_nodes: int | None = None,
) -> list[CurvePoint]:
    """Return the predictions at each of `cpus`, with one node and with many.

    Many is `fixed_nodes`, or by default one per CPU, at most 128.
    """
    points = []
    for count in cpus:
        single = predict_point(calibration, machine, case, count, Design(1), pairs)
        nodes = fixed_nodes or min(count, 128)  # vmap_init_nodes()
        many = predict_point(calibration, machine, case, count, Design(nodes), pairs)
        points.append(CurvePoint(case, count, single, many))
    return points


def load_s(points: Iterable[BoundedPrediction], loops: int) -> float:
    """Return the seconds of a load that runs the cases of `points` one after the other.

    `loops`: test_loop_count. Each CPU has one worker (nr_threads is the number of CPUs).
    """
    return sum(
        made.cpus * loops * pairs_per_loop(made.case, made.cpus, loops) / made.pairs_per_s
        for made in (point.prediction for point in points)
    )


def predict_sweep(
    calibration: Calibration,
    machine: MachineCosts,
    case: str,
    cpus: int,
    parameter: str,
    values: Sequence[float],
    pairs: int = PAIRS,
) -> list[tuple[float, BoundedPrediction]]:
    """Return (value, prediction) for each of `values` of a parameter of the design.

    Raises InputError if `parameter` is not one of `SWEEPS`.
    """
    if parameter not in SWEEPS:
        raise InputError(f"cannot sweep {parameter!r}; choose one of: {', '.join(SWEEPS)}")
    base = Design(min(cpus, 128))
    points = []
    for value in values:
        change: dict[str, Any] = {parameter: value if parameter == "decay" else int(value)}
        design = replace(base, **change)
        points.append((value, predict_point(calibration, machine, case, cpus, design, pairs)))
    return points


def as_document(point: BoundedPrediction) -> dict[str, Any]:
    """Return a prediction as a dict for JSON."""
    return {**asdict(point.prediction), "bounds": asdict(point.bounds)}
