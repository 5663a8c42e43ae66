"""Curves and sweeps of `vmapbench predict`, as text, JSON and a chart."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.model.calibration import Calibration
from harness.model.costs import MachineCosts
from harness.model.predict import (
    BoundedPrediction,
    CurvePoint,
    as_document,
    load_s,
    predict_curve,
    predict_sweep,
)

SweepPoint = tuple[str, float, BoundedPrediction]
"""Case, value of the swept parameter, prediction."""


@dataclass(frozen=True)
class PredictRequest:
    """What to predict: each case at each CPU count, from `pairs` simulated allocations."""

    calibration: Calibration
    machine: MachineCosts
    cases: Sequence[str]
    cpus: Sequence[int]
    pairs: int

    def curves(self, fixed_nodes: int | None) -> list[CurvePoint]:
        """Return one point per case and CPU count; `fixed_nodes` None: one vmap node per CPU."""
        return [
            point
            for case in self.cases
            for point in predict_curve(
                self.calibration, self.machine, case, self.cpus, self.pairs, fixed_nodes
            )
        ]

    def sweep(self, parameter: str, values: Sequence[float]) -> list[SweepPoint]:
        """Return one point per case and value, at the largest CPU count."""
        return [
            (case, value, point)
            for case in self.cases
            for value, point in predict_sweep(
                self.calibration, self.machine, case, self.cpus[-1], parameter, values, self.pairs
            )
        ]


def whole_loads(curves: list[CurvePoint], loops: int) -> list[dict[str, float]]:
    """Return the time (s) of one load of all the cases, with one node and with many, per CPU count.

    `loops`: test_loop_count.
    """
    loads = []
    for cpus in sorted({point.cpus for point in curves}):
        here = [point for point in curves if point.cpus == cpus]
        single_s = load_s((point.single for point in here), loops)
        many_s = load_s((point.many for point in here), loops)
        ratio = single_s / many_s
        loads.append({"cpus": cpus, "single_s": single_s, "many_s": many_s, "ratio": ratio})
    return loads


def draw_sweep(parameter: str, points: list[SweepPoint], path: Path) -> None:
    """Write a chart of throughput over the parameter, one line per case, as one HTML file."""
    import altair as alt
    import pandas as pd

    rows = [
        {"case": case, parameter: value, "pairs per second": point.prediction.pairs_per_s}
        for case, value, point in points
    ]
    cpus = points[0][2].prediction.cpus
    picture = (
        alt.Chart(pd.DataFrame(rows), title=f"Predicted for {cpus} CPUs")
        .mark_line(point=True)
        .encode(alt.X(f"{parameter}:Q"), alt.Y("pairs per second:Q"), alt.Color("case:N"))
        .properties(width=640, height=360)
    )
    picture.save(str(path), inline=True)


def curve_json(machine: str, curve: list[CurvePoint], loads: list[dict[str, float]]) -> str:
    """Return the curves and the loads of all cases as JSON; `machine`: name of its model."""
    points = [
        {
            "case": each.case,
            "cpus": each.cpus,
            "ratio": each.ratio,
            "single": as_document(each.single),
            "many": as_document(each.many),
        }
        for each in curve
    ]
    document = {"version": 1, "machine": machine, "points": points, "all_cases": loads}
    return json.dumps(document, indent=2)


def curve_text(curve: list[CurvePoint], loads: list[dict[str, float]], loops: int) -> str:
    """Return a table with one line per case, CPU count and node count, then one per whole load."""
    lines = [
        f"{'case':<18}{'CPUs':>5}{'nodes':>6}{'pairs/s':>12}{'bounds':>26}{'MVA':>12}  bottleneck"
    ]
    for each in curve:
        for point in (each.single, each.many):
            lines.append(_point_text(point))
        lines.append(f"{'':<18}{each.cpus:>5}  ratio {each.ratio:.2f}")
    for load in loads:
        lines.append(
            f"all cases, {loops:,} loops{load['cpus']:>6} CPUs: {load['single_s']:,.1f} s with "
            f"one node, {load['many_s']:,.1f} s with many, ratio {load['ratio']:.2f}"
        )
    return "\n".join(lines)


def _point_text(point: BoundedPrediction) -> str:
    made, bounds = point.prediction, point.bounds
    within = f"{bounds.lower:,.0f} .. {bounds.upper:,.0f}"
    used = made.utilisation.get(made.bottleneck)
    why = made.bottleneck if used is None else f"{made.bottleneck} ({used:.0%} used)"
    return (
        f"{made.case:<18}{made.cpus:>5}{made.nodes:>6}{made.pairs_per_s:>12,.0f}{within:>26}"
        f"{bounds.mean_value_analysis:>12,.0f}  {why}"
    )


def sweep_json(parameter: str, points: list[SweepPoint]) -> str:
    """Return the sweep as JSON; each point has the value under the name `parameter`."""
    rows: list[dict[str, Any]] = [
        {"case": case, parameter: value, **as_document(point)} for case, value, point in points
    ]
    return json.dumps({"version": 1, "sweep": parameter, "points": rows}, indent=2)


def sweep_text(parameter: str, points: list[SweepPoint]) -> str:
    """Return a table with one line per case and value of `parameter`."""
    lines = [f"{parameter:>18}"]
    for _, value, point in points:
        hits = f"{point.prediction.pool_hits:.1%} from pools"
        lines.append(f"{value:>18g}  {_point_text(point)}, {hits}")
    return "\n".join(lines)
