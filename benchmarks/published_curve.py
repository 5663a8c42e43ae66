"""Holds the timing model against a published curve: docs/results/published-curve.md.

    python -m benchmarks.published_curve

Writes the tables and the picture of that page. It takes a minute.
"""

import csv
import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from harness.model.costs import pair_costs
from harness.model.predict import load_calibration, predict_point
from harness.model.timing import Design, Prediction
from harness.targets.simulated.costs import model_costs
from harness.targets.simulated.machine import MachineModel, load_machine, spread

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "docs" / "results"
PUBLISHED = RESULTS / "data" / "published-v1-3970x.csv"
PAGE = RESULTS / "published-curve.md"
PICTURE = RESULTS / "images" / "published-curve.png"
MACHINE = "threadripper-3970x"
SIDES = ("before", "after")
JOBS = (1, 8, 16, 24, 32)
GOALS = {"before": 0.30, "after": 0.15}  # of the error at 8 to 32 jobs
GOAL_ONE_JOB = 0.10
PAIRS = 60_000  # of a prediction
BEGIN, END = "<!-- made by benchmarks.published_curve: begin -->", "<!-- end -->"

# What is simulated: figures in place of the machine model's. 1.55 instructions a cycle give the
# published 0.576 us for one job before the series.
ONE_CPU = {"instructions_per_cycle": 1.55}
VARIANTS: dict[str, dict[str, Any]] = {
    "first-come": ONE_CPU,
    "nearest-first": {**ONE_CPU, "arbitration": "nearest-first"},
}


def machine_of(variant: str, jobs: int) -> MachineModel:
    """Return the machine as a guest of `jobs` CPUs that are spread over its complexes."""
    return spread(load_machine(MACHINE).model_copy(update=VARIANTS[variant]), jobs)


def published() -> dict[tuple[str, int], float]:
    """Return us a pair as each job sees it, by side and jobs."""
    with PUBLISHED.open(encoding="utf-8") as file:
        return {
            (side, int(row["jobs"])): float(row[f"{side}_us"])
            for row in csv.DictReader(file)
            for side in SIDES
        }


@functools.cache
def prediction(variant: str, side: str, jobs: int, near_locks: bool) -> Prediction:
    """Return the timing model's, which knows 6.12 with one node and with all."""
    costs = replace(model_costs(machine_of(variant, jobs)), near_locks=near_locks)
    design = Design(1 if side == "before" else jobs)
    return predict_point(load_calibration(), costs, "fix_size", jobs, design, PAIRS).prediction


def predicted(variant: str, *, near_locks: bool = False) -> dict[tuple[str, int], float]:
    """Return us a pair by the timing model."""
    return {
        (side, jobs): 1e6 * jobs / prediction(variant, side, jobs, near_locks).pairs_per_s
        for side in SIDES
        for jobs in JOBS
    }


def one_node() -> str:
    """Return the table of what a visit to the one node's lazy lock costs, by the timing model."""
    profile = load_calibration().cases["fix_size"]
    lines = [
        "| jobs | own work | lines that others wrote | mean way | in use | in use, locks too |",
        "|---|---|---|---|---|---|",
    ]
    for jobs in JOBS[1:]:
        costs = model_costs(machine_of("nearest-first", jobs))
        step = pair_costs(profile["many"], profile["1"], 1, costs).lazy
        used = [prediction("nearest-first", "before", jobs, near) for near in (False, True)]
        shares = " | ".join(
            f"{p.utilisation['lazy.lock']:.0%} of {1e9 / p.pairs_per_s:,.0f} ns" for p in used
        )
        lines.append(
            f"| {jobs} | {step.work_ns:.0f} ns | {step.stale(jobs, jobs):.1f} "
            f"| {costs.mean_transfer_ns(jobs):.0f} ns | {shares} |"
        )
    return "\n".join(lines)


def table(curves: Mapping[str, Mapping[tuple[str, int], float]], side: str) -> str:
    """Return one side's table: the published curve, and of each other one value and error."""
    real = published()
    lines = [
        "| jobs | published | " + " | ".join(curves) + " |",
        "|" + "---|" * (2 + len(curves)),
    ]
    for jobs in sorted({jobs for curve in curves.values() for _, jobs in curve}):
        known = real[side, jobs]
        cells = [
            f"{curve[side, jobs]:.3f} ({curve[side, jobs] / known - 1:+.0%})"
            if (side, jobs) in curve
            else ""
            for curve in curves.values()
        ]
        lines.append(f"| {jobs} | {known:.3f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goals(curves: Mapping[str, Mapping[tuple[str, int], float]]) -> str:
    """Return the table of goals: the worst error of each curve, and whether that is within it."""
    real = published()
    lines = ["| goal | " + " | ".join(curves) + " |", "|" + "---|" * (1 + len(curves))]
    many = {jobs for _, jobs in real if jobs >= 8}
    asked = [(side, many, "8 to 32 jobs", goal) for side, goal in GOALS.items()]
    asked += [(side, {1}, "one job", GOAL_ONE_JOB) for side in SIDES]
    for side, jobs_asked, words, goal in asked:
        cells = []
        for curve in curves.values():
            errors = {
                jobs: us / real[side, jobs] - 1
                for (of, jobs), us in curve.items()
                if of == side and jobs in jobs_asked
            }
            worst = max(errors, key=lambda jobs: abs(errors[jobs]), default=0)
            met = "met" if errors and abs(errors[worst]) <= goal else "**missed**"
            cells.append(f"{met} ({errors[worst]:+.0%} at {worst})" if errors else "")
        lines.append(f"| {side}, {words}, within {goal:.0%} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(curves: Mapping[str, Mapping[tuple[str, int], float]]) -> None:
    """Write the picture: ns a pair of all CPUs together, over the jobs."""
    points = [
        {"jobs": jobs, "ns": us * 1000 / jobs, "side": side, "curve": name}
        for name, curve in {"published": published(), **curves}.items()
        for (side, jobs), us in curve.items()
    ]
    ticks = list(JOBS)
    chart = (
        alt.Chart(pd.DataFrame(points), width=380, height=380)
        .mark_line(point=True)
        .encode(
            x=alt.X("jobs:Q", scale=alt.Scale(type="log", base=2), axis=alt.Axis(values=ticks)),
            y=alt.Y("ns:Q", scale=alt.Scale(type="log"), title="ns a pair, all CPUs together"),
            color=alt.Color("curve:N", title=None),
        )
        .facet(column=alt.Column("side:N", sort=list(SIDES), title=None))
    )
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    chart.save(PICTURE, ppi=110)


def write_page() -> None:
    """Put tables and goals between the marks of the page, and draw the picture."""
    shown: dict[str, Mapping[tuple[str, int], float]] = {}
    for name in ("first-come", "nearest-first"):
        shown[f"predicted, {name}"] = predicted(name)
    shown["predicted, locks too"] = predicted("nearest-first", near_locks=True)
    parts = [f"**{side.title()}**, us a pair:\n\n{table(shown, side)}\n" for side in SIDES]
    parts += [f"The goals, and the worst error:\n\n{goals(shown)}\n"]
    parts += [f"The one node's lazy lock in the model, a visit:\n\n{one_node()}\n"]
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = f"{head}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{rest.partition(END)[2]}"
    PAGE.write_text(text, encoding="utf-8")
    draw(shown)


if __name__ == "__main__":
    write_page()
