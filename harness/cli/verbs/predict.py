"""`vmapbench predict`: performance on many CPUs, calculated from a calibration on one CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.console import echo
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.cli.predicted import PredictRequest


def command(
    cpus: Annotated[
        str, typer.Option(help="Numbers of CPUs: 8, 1,2,4 or 1..64 (powers of two).")
    ] = "1..64",
    nodes: Annotated[
        str, typer.Option(help="Numbers of vmap nodes: 1,cpus (one per CPU) or 1,N.")
    ] = "1,cpus",
    case: Annotated[
        list[str] | None, typer.Option(help="A case; may be given several times.")
    ] = None,
    machine: Annotated[
        str, typer.Option(help="A machine model, see `vmapbench machine list`.")
    ] = "threadripper-3970x",
    arbitration: Annotated[
        str | None,
        typer.Option(help="first-come or nearest-first, in place of the machine model's."),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(help="Vary one parameter of the design: decay=0..1, nodes=1,4,16 ..."),
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="Write the sweep's chart (HTML).")] = None,
    calibration: Annotated[str, typer.Option(help="Name of a calibration.")] = "linux-6.12",
    pairs: Annotated[
        int, typer.Option(min=1000, help="Number of allocations to simulate.")
    ] = 120_000,
    loops: Annotated[
        int, typer.Option(min=1, help="test_loop_count of the load that has all the cases.")
    ] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict throughput, lock use and the bottleneck of test_vmalloc's cases on many CPUs.

    Each lock's cost comes from a run on a single CPU, each transfer between CPUs from the machine
    model; nothing is fitted to a measured curve.
    """
    from harness.cli.predicted import PredictRequest
    from harness.model.predict import load_calibration
    from harness.targets.simulated.costs import model_costs
    from harness.targets.simulated.machine import load_machine, with_arbitration

    costs = model_costs(with_arbitration(load_machine(machine), arbitration))
    known = load_calibration(calibration)
    request = PredictRequest(known, costs, case or ["fix_size"], parse_counts(cpus), pairs)
    if sweep is not None:
        _print_sweep(request, sweep, chart, as_json)
    else:
        _print_curves(request, machine, parse_nodes(nodes), loops, as_json)


def _print_sweep(request: "PredictRequest", sweep: str, chart: Path | None, as_json: bool) -> None:
    from harness.cli.predicted import draw_sweep, sweep_json, sweep_text

    parameter, values = parse_sweep(sweep)
    points = request.sweep(parameter, values)
    if chart is not None:
        draw_sweep(parameter, points, chart)
    echo(sweep_json(parameter, points) if as_json else sweep_text(parameter, points))


def _print_curves(
    request: "PredictRequest", machine: str, nodes: int | None, loops: int, as_json: bool
) -> None:
    from harness.cli.predicted import curve_json, curve_text, whole_loads

    curves = request.curves(nodes)
    loads = whole_loads(curves, loops) if len(request.cases) > 1 else []
    echo(curve_json(machine, curves, loads) if as_json else curve_text(curves, loads, loops))


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
    name, _, parts = text.partition("=")
    try:
        if ".." in parts:
            low, high = (float(word) for word in parts.split(".."))
            values = [low + (high - low) * step / 8 for step in range(9)]
        else:
            values = [float(word) for word in parts.split(",")]
    except ValueError as error:
        raise InputError(f"--sweep {text}: expected NAME=LOW..HIGH or NAME=V,V,...") from error
    if any(value < 0 for value in values):
        raise InputError(f"--sweep {text}: values must not be negative")
    return name, values
