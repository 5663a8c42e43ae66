"""`vmapbench predict`: what the design promises on many CPUs, from a one-CPU calibration."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.console import echo
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.model.predict import CurvePoint, Point


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("predict")(predict)


def predict(
    cpus: Annotated[str, typer.Option(help="8, 1,2,4 or 1..64 (powers of two).")] = "1..64",
    nodes: Annotated[str, typer.Option(help="1,cpus; or one number in place of cpus.")] = "1,cpus",
    case: Annotated[list[str] | None, typer.Option(help="Case; may be given again.")] = None,
    machine: Annotated[str, typer.Option(help="A machine model.")] = "threadripper-3970x",
    sweep: Annotated[str | None, typer.Option(help="decay=0..1, nodes=1,4,16 ...")] = None,
    chart: Annotated[Path | None, typer.Option(help="Write the sweep's chart (HTML).")] = None,
    calibration: Annotated[str, typer.Option(help="Name of a calibration.")] = "linux-6.12",
    pairs: Annotated[int, typer.Option(min=1000, help="Allocations simulated.")] = 120_000,
    loops: Annotated[
        int, typer.Option(min=1, help="test_loop_count of the load that has all the cases.")
    ] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict throughput, lock use and the bottleneck of test_vmalloc's cases on many CPUs.

    Each lock's cost comes from a run on a single CPU, each transfer between CPUs from the machine
    model; nothing is fitted to a measured curve.
    """
    from harness.model.predict import load_calibration, predict_curve, predict_sweep
    from harness.targets.simulated.costs import machine_costs

    costs, known = machine_costs(machine), load_calibration(calibration)
    counts, cases = parse_counts(cpus), case or ["fix_size"]
    if sweep is not None:
        parameter, values = parse_sweep(sweep)
        points = [
            (name, value, point)
            for name in cases
            for value, point in predict_sweep(
                known, costs, name, counts[-1], parameter, values, pairs
            )
        ]
        if chart is not None:
            draw_sweep(parameter, points, chart)
        echo(_sweep_json(parameter, points) if as_json else _sweep_text(parameter, points))
        return
    fixed = parse_nodes(nodes)
    curves = [
        point for name in cases for point in predict_curve(known, costs, name, counts, pairs, fixed)
    ]
    loads = whole_loads(curves, loops) if len(cases) > 1 else []
    if as_json:
        echo(_curve_json(machine, curves, loads))
    else:
        echo(_curve_text(curves))
        for load in loads:
            echo(
                f"all cases, {loops:,} loops{load['cpus']:>6} CPUs: {load['single_s']:,.1f} s with "
                f"one node, {load['many_s']:,.1f} s with many, ratio {load['ratio']:.2f}"
            )


def whole_loads(curves: list["CurvePoint"], loops: int) -> list[dict[str, float]]:
    """Return what one load with all the cases takes, for each CPU count."""
    from harness.model.predict import load_s

    loads = []
    for cpus in sorted({point.cpus for point in curves}):
        here = [point for point in curves if point.cpus == cpus]
        single_s = load_s((point.single for point in here), loops)
        many_s = load_s((point.many for point in here), loops)
        ratio = single_s / many_s
        loads.append({"cpus": cpus, "single_s": single_s, "many_s": many_s, "ratio": ratio})
    return loads


def parse_counts(text: str) -> list[int]:
    """Return CPU counts: a number, a list, or a range as powers of two and its ends."""
    try:
        if ".." in text:
            low, high = (int(word) for word in text.split(".."))
            powers = [2**n for n in range(11) if low < 2**n < high]
            counts = sorted({low, *powers, high})
        else:
            counts = [int(word) for word in text.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(1 <= count <= 1024 for count in counts):
        raise InputError(f"--cpus {text}: expected 8, 1,2,4 or 1..64, each from 1 to 1024")
    return counts


def parse_nodes(text: str) -> int | None:
    """Return the number of nodes to compare with one; None for one per CPU."""
    word = text.removeprefix("1,")
    if word == "cpus":
        return None
    if not word.isdigit() or not 1 <= int(word) <= 1024:
        raise InputError(f"--nodes {text}: expected 1,cpus or 1,N with N from 1 to 1024")
    return int(word)


def parse_sweep(text: str) -> tuple[str, list[float]]:
    """Return the parameter and its values; a range has nine steps."""
    name, _, words = text.partition("=")
    try:
        if ".." in words:
            low, high = (float(word) for word in words.split(".."))
            values = [low + (high - low) * step / 8 for step in range(9)]
        else:
            values = [float(word) for word in words.split(",")]
    except ValueError as error:
        raise InputError(f"--sweep {text}: expected NAME=LOW..HIGH or NAME=V,V,...") from error
    if any(value < 0 for value in values):
        raise InputError(f"--sweep {text}: values must not be negative")
    return name, values


def draw_sweep(parameter: str, points: list[tuple[str, float, "Point"]], path: Path) -> None:
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


def _curve_json(machine: str, curve: list["CurvePoint"], loads: list[dict[str, float]]) -> str:
    from harness.model.predict import as_document

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


def _curve_text(curve: list["CurvePoint"]) -> str:
    lines = [
        f"{'case':<18}{'CPUs':>5}{'nodes':>6}{'pairs/s':>12}{'bounds':>26}{'MVA':>12}  bottleneck"
    ]
    for each in curve:
        for point in (each.single, each.many):
            lines.append(_point_text(point))
        lines.append(f"{'':<18}{each.cpus:>5}  ratio {each.ratio:.2f}")
    return "\n".join(lines)


def _point_text(point: "Point") -> str:
    made, bounds = point.prediction, point.bounds
    within = f"{bounds.lower:,.0f} .. {bounds.upper:,.0f}"
    used = made.utilisation.get(made.bottleneck)
    why = made.bottleneck if used is None else f"{made.bottleneck} ({used:.0%} used)"
    return (
        f"{made.case:<18}{made.cpus:>5}{made.nodes:>6}{made.pairs_per_s:>12,.0f}{within:>26}"
        f"{bounds.mean_value_analysis:>12,.0f}  {why}"
    )


def _sweep_json(parameter: str, points: list[tuple[str, float, "Point"]]) -> str:
    from harness.model.predict import as_document

    rows: list[dict[str, Any]] = [
        {"case": case, parameter: value, **as_document(point)} for case, value, point in points
    ]
    return json.dumps({"version": 1, "sweep": parameter, "points": rows}, indent=2)


def _sweep_text(parameter: str, points: list[tuple[str, float, "Point"]]) -> str:
    lines = [f"{parameter:>18}"]
    for _, value, point in points:
        hits = f"{point.prediction.pool_hits:.1%} from pools"
        lines.append(f"{value:>18g}  {_point_text(point)}, {hits}")
    return "\n".join(lines)
