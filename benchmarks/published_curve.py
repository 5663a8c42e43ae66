"""Compares the simulated machine and the timing model with a published curve.

    python -m benchmarks.published_curve [--jobs 1 8 32] [--side before] [--variant first-come]
    python -m benchmarks.published_curve --page

The first form boots the given points and appends a line for each to the data file, where later
lines of a point replace earlier ones. The second writes the tables and the chart of
docs/results/published-curve.md from the data file and the timing model.
"""

import argparse
import csv
import functools
import json
import math
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from scipy.optimize import brentq

from benchmarks.pages import write_between
from benchmarks.simulated import symbols_of, windows_in
from harness.build.cache import cache_folder
from harness.build.kernel import BuiltKernel, ensure_kernel
from harness.model.costs import MachineCosts, pair_costs
from harness.model.predict import load_calibration, predict_point
from harness.model.timing import Design, Prediction
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec
from harness.targets.base import BootRequest
from harness.targets.simulated.costs import model_costs
from harness.targets.simulated.machine import MachineModel, load_machine, spread
from harness.targets.simulated.spec import SimulatedSpec
from harness.targets.simulated.target import SimulatedTarget, SimulationOptions
from harness.testmod.cases import lazy_max_pages
from harness.testmod.log import parse_log

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "docs" / "results"
DATA = RESULTS / "data" / "published-curve.jsonl"
PUBLISHED = RESULTS / "data" / "published-v1-3970x.csv"
PAGE = RESULTS / "published-curve.md"
PICTURE = RESULTS / "images" / "published-curve.png"
SIDES = ("before", "after")
JOBS = (1, 8, 16, 24, 32)
# The published kernel cleared pages: clear_page is in the profiles of its author.
BOOT = ("init_on_alloc=1",)
COUNTED = ("alloc_vmap_area", "__purge_vmap_area_lazy")
WINDOW_MS = 0.5
PURGES = {"before": 1.5, "after": 5}  # as many pairs as start so many purges
GOALS = {"before": 0.30, "after": 0.15}  # of the error at 8 to 32 jobs
GOAL_ONE_JOB = 0.10
PAIRS = 60_000  # of a prediction
BEGIN, END = "<!-- made by benchmarks.published_curve: begin -->", "<!-- end -->"

# Linux 6.1 merges freed areas as the published kernel did; 6.12 with one node does not.
NATIVE = {"before": "linux-6.1", "after": "vmap-nodes"}
MERGING = {"before": "single-node-merging", "after": "vmap-nodes"}
TEST_AND_SET = {"before": "linux-6.1-test-and-set", "after": "vmap-nodes-test-and-set"}


@dataclass(frozen=True)
class Variant:
    """A variant to simulate: a machine model with changed values, and the kernels."""

    name: str
    machine: str
    model: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, str] = field(default_factory=lambda: NATIVE)


PLAIN, CALIBRATED = "threadripper-3970x", "threadripper-3970x-calibrated"
# 1.55 instructions per cycle give the published time of one job without costs of memory.
ONE_CPU = {"instructions_per_cycle": 1.55}
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("first-come", PLAIN, ONE_CPU),
        Variant("nearest-first", PLAIN, {**ONE_CPU, "arbitration": "nearest-first"}),
        Variant("calibrated", CALIBRATED),
        Variant("merging", CALIBRATED, kernels=MERGING),
        Variant("test-and-set", CALIBRATED, kernels=TEST_AND_SET),
        # Two points of a line, from which the calibrated machine's instructions a cycle follow.
        Variant("one-a-cycle", CALIBRATED, {"instructions_per_cycle": 1.0}),
        Variant("two-a-cycle", CALIBRATED, {"instructions_per_cycle": 2.0}),
    )
}

SHOWN = ("nearest-first", "calibrated", "merging", "test-and-set")  # of the simulated ones

# (side, jobs) -> us per pair of each job
Curve = Mapping[tuple[str, int], float]


def loops_of(side: str, jobs: int) -> int:
    """Return the loops of a worker for a number of purges; a pair frees a page and a guard page.

    A single job is timed as a whole, so its loops are for complete purges.
    """
    purges = 2 if jobs == 1 else PURGES[side]
    return int(purges * lazy_max_pages(jobs) / 2 / jobs)


def steady(windows: Sequence[Mapping[str, Any]], jobs: int) -> dict[str, Any]:
    """Return the means over windows after the first purge in which all CPUs are busy.

    Two workers may share a CPU for some time, so 80 % of the CPUs suffice, and times are those of
    busy CPUs. `best_us`: of the fastest window, which has full pools, if there are pools. Raises
    ValueError if there is no such window.
    """
    pairs, cpu_ms, length_ms = 0, 0.0, 0.0
    waits: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    spin, best_us, before = 0.0, math.inf, None
    at_work = [window for window in windows if window["busy_cpus"] >= 0.8 * jobs]
    purges = at_work[0]["executed"][1] if at_work else 0  # those of loading the module
    for window in windows:
        if before and window in at_work and window["executed"][1] > purges:
            span, busy = window["until_ms"] - before["until_ms"], window["busy_cpus"]
            made, worked_ms = window["executed"][0] - before["executed"][0], busy * span
            best_us = min(best_us, 1000 * worked_ms / max(made, 1))
            pairs += made
            spin += window["spin_share"] * span
            cpu_ms += worked_ms
            length_ms += span
            for name, share in window["waits"].items():
                waits[name] += share * span
            for name, share in window["self"].items():
                functions[name] += share * span
        before = window
    if not pairs:
        raise ValueError(f"no window of {len(windows)} has {jobs} CPUs at work after a purge")
    return {
        "pair_us": round(cpu_ms * 1000 / pairs, 4),
        "best_us": round(best_us, 4),
        "busy_cpus": round(cpu_ms / length_ms, 2),
        "steady_ms": round(length_ms, 2),
        "spin_share": round(spin / length_ms, 4),
        "waits": {name: round(t / length_ms, 4) for name, t in waits.most_common(5)},
        "self": {name: round(t / length_ms, 4) for name, t in functions.most_common(8)},
    }


def machine_of(name: str, jobs: int) -> MachineModel:
    """Return the machine model of a variant for `jobs` CPUs spread over its complexes."""
    variant = VARIANTS[name]
    return spread(load_machine(variant.machine).model_copy(update=dict(variant.model)), jobs)


def boot(
    variant: Variant, side: str, jobs: int, kernel: BuiltKernel, folder: Path
) -> dict[str, Any]:
    """Simulate a point; return its row of the data file."""
    machine = machine_of(variant.name, jobs)
    symbols = symbols_of(kernel)
    target = SimulatedTarget(
        SimulatedSpec(kind="simulated", cpus=jobs, boot_parameters=BOOT),
        cache_folder(),
        SubprocessRunner(),
        machine,
        SimulationOptions(
            window_ms=WINDOW_MS,
            counted=tuple(symbols.address_of(place) for place in COUNTED),
        ),
    )
    target.check()
    loops = loops_of(side, jobs)
    load = f"nr_threads={jobs} run_test_mask=1 test_loop_count={loops}"
    began = time.monotonic()
    request = BootRequest(kernel, jobs, (load,), 1024 + 16 * jobs, 3600.0, folder)
    result = target.boot(request, lambda _: None)
    workers = [line.avg_us / loops for line in parse_log(result.kernel_log or "")[-1].summaries]
    mean_us = round(statistics.fmean(workers), 4)  # of the whole load, pools empty at first
    # One job has neither others to wait for nor pools that are empty at first.
    found = (
        {"pair_us": mean_us} if jobs == 1 else steady(windows_in(folder, symbols, machine), jobs)
    )
    return {
        "variant": variant.name,
        "side": side,
        "kernel": kernel.spec.name,
        "jobs": jobs,
        "machine": variant.machine,
        "model": dict(variant.model),
        "loops": loops,
        "verdict": str(result.verdict),
        "mean_us": mean_us,
        **found,
        "host_s": round(time.monotonic() - began, 1),
    }


def published() -> dict[tuple[str, int], float]:
    """Return the published curve."""
    with PUBLISHED.open(encoding="utf-8") as file:
        return {
            (side, int(row["jobs"])): float(row[f"{side}_us"])
            for row in csv.DictReader(file)
            for side in SIDES
        }


def measured(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Return the last row of each point in the lines of the data file."""
    rows: dict[tuple[object, ...], dict[str, Any]] = {}
    for line in lines:
        row = json.loads(line)
        rows[row["variant"], row["side"], row["jobs"]] = row
    return sorted(rows.values(), key=lambda row: (row["variant"], row["side"], row["jobs"]))


@functools.cache
def prediction(variant: str, side: str, jobs: int, near_locks: bool) -> Prediction:
    """Return the prediction of the timing model, for 6.12 with one node or with many."""
    costs = model_costs(machine_of(variant, jobs))
    return prediction_at(replace(costs, near_locks=near_locks), side, jobs)


def prediction_at(costs: MachineCosts, side: str, jobs: int) -> Prediction:
    """Return the timing model's with these costs."""
    design = Design(1 if side == "before" else jobs)
    point = predict_point(load_calibration(), costs, "fix_size", jobs, design, PAIRS, cleared=True)
    return point.prediction


def predicted(variant: str, *, near_locks: bool = False) -> dict[tuple[str, int], float]:
    """Return the curve that the timing model predicts."""
    return {
        (side, jobs): 1e6 * jobs / prediction(variant, side, jobs, near_locks).pairs_per_s
        for side in SIDES
        for jobs in JOBS
    }


def _transfers(costs: MachineCosts, factor: float) -> MachineCosts:
    same_core, same_complex, same_die, any_other = costs.transfer_ns
    changed = tuple(factor * ns for ns in (same_complex, same_die, any_other))
    return replace(costs, transfer_ns=(same_core, *changed))


def _work(costs: MachineCosts, factor: float) -> MachineCosts:
    return replace(
        costs,
        instruction_ns=factor * costs.instruction_ns,
        atomic_ns=factor * costs.atomic_ns,
        byte_ns=factor * costs.byte_ns,
    )


# What one cost of the model is multiplied by, alone.
CHANGES = {"transfers between cores": _transfers, "work of a CPU": _work}
LEAST_FACTOR = 0.01


def required(
    side: str, jobs: int, us: float, change: Callable[[MachineCosts, float], MachineCosts]
) -> float | None:
    """Return the factor at which the model takes `us` a pair; None if 0.01 is not small enough."""
    as_cited = model_costs(machine_of("nearest-first", jobs))

    def error(exponent: float) -> float:
        costs = change(as_cited, math.exp(exponent))
        return 1e6 * jobs / prediction_at(costs, side, jobs).pairs_per_s / us - 1

    low, high = math.log(LEAST_FACTOR), math.log(4)
    if error(low) > 0:
        return None
    return math.exp(float(brentq(error, low, high, xtol=0.01)))


def requirements(real: Curve) -> str:
    """Return the table of what one cost would have to be for the model to give the real curve."""
    lines = ["| side | jobs | " + " | ".join(CHANGES) + " |", "|---|---|" + "---|" * len(CHANGES)]
    for side in SIDES:
        for jobs in JOBS[1:]:
            cells = []
            for change in CHANGES.values():
                factor = required(side, jobs, real[side, jobs], change)
                cells.append("no factor is enough" if factor is None else f"x {factor:.2f}")
            lines.append(f"| {side} | {jobs} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def one_node() -> str:
    """Return the table of the predicted cost of a visit to the single node's lazy lock."""
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


def table(real: Curve, curves: Mapping[str, Curve], side: str) -> str:
    """Return the table of a side: the published curve, and value and error of the others."""
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


def goals(real: Curve, curves: Mapping[str, Curve]) -> str:
    """Return the table of goals: the largest error of each curve, and whether it meets the goal."""
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


def spent(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of the windows of each boot with several jobs."""
    lines = [
        "| machine | side | jobs | ns a pair | windows | slow path | locks taken in |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["variant"] in SHOWN and row["jobs"] > 1:
            places = ", ".join(
                f"{n} {share:.0%}" for n, share in row["waits"].items() if share > 0.02
            )
            lines.append(
                f"| {row['variant']} | {row['side']} | {row['jobs']} "
                f"| {1000 * row['pair_us'] / row['jobs']:,.0f} | {row['steady_ms']:.1f} ms "
                f"| {row['spin_share']:.0%} | {places} |"
            )
    return "\n".join(lines)


def draw(curves: Mapping[str, Curve]) -> None:
    """Write the chart: ns per pair of all CPUs together, over the number of jobs."""
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
    """Write tables and goals between the markers of the page, and draw the chart."""
    text = DATA.read_text(encoding="utf-8") if DATA.is_file() else ""
    rows = measured(text.splitlines())
    shown: dict[str, Curve] = {}
    for name in SHOWN:
        curve = {
            (row["side"], row["jobs"]): row["pair_us"] for row in rows if row["variant"] == name
        }
        if curve:
            shown[f"simulated, {name}"] = curve
    best = {
        (row["side"], row["jobs"]): row["best_us"]
        for row in rows
        if row["variant"] == "calibrated" and row["side"] == "after" and "best_us" in row
    }
    if best:
        shown["simulated, full pools"] = best
    for name in ("first-come", "nearest-first"):
        shown[f"predicted, {name}"] = predicted(name)
    shown["predicted, locks too"] = predicted("nearest-first", near_locks=True)
    real = published()
    parts = [f"**{side.title()}**, us a pair:\n\n{table(real, shown, side)}\n" for side in SIDES]
    parts += [f"The goals, and the worst error:\n\n{goals(real, shown)}\n"]
    parts += [f"The one node's lazy lock in the model, a visit:\n\n{one_node()}\n"]
    words = (
        "What one cost of the model would have to be multiplied by, to give the published figure:"
    )
    parts += [f"{words}\n\n{requirements(real)}\n"]
    if rows:
        parts += [f"Where all CPUs spend their time:\n\n{spent(rows)}\n"]
    write_between(PAGE, BEGIN, END, "\n".join(parts))
    draw(shown)


def main() -> None:
    """Boot the given points, or write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, nargs="*", default=JOBS)
    parser.add_argument("--side", nargs="*", choices=SIDES, default=list(SIDES))
    parser.add_argument("--variant", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--page", action="store_true", help="write the page from the data file")
    chosen = parser.parse_args()
    if chosen.page:
        write_page()
        return
    for name in chosen.variant:
        variant = VARIANTS[name]
        for jobs in chosen.jobs:
            for side in chosen.side:
                spec = load_kernel_spec(variant.kernels[side], REPOSITORY / "kernels")
                kernel = ensure_kernel(spec, cache_folder(), SubprocessRunner(), lambda _: None)
                with tempfile.TemporaryDirectory() as folder:
                    row = boot(variant, side, jobs, kernel, Path(folder))
                print(json.dumps(row), flush=True)
                with DATA.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
