"""`vmapbench validate`: compare a running kernel with the reference model, event by event."""

import datetime as dt
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import KernelsOption
from harness.console import echo, tell
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.validate import Validation

TRACED = ("vmap-nodes-traced", "single-node-traced", "linux-6.1-traced")


def command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Kernels; default: the traced ones of 6.12 and 6.1.")
    ] = None,
    cpus: Annotated[
        int, typer.Option(min=1, max=128, help="Online CPUs; with 1 every address is predicted.")
    ] = 1,
    possible: Annotated[
        int,
        typer.Option(min=1, max=128, help="Possible CPUs; there are as many nodes."),
    ] = 4,
    loops: Annotated[int, typer.Option(min=1, help="Loops of each case.")] = 55_000,
    patch: Annotated[list[str] | None, typer.Option(help="A patch below KERNELS, to add.")] = None,
    again: Annotated[
        list[Path] | None, typer.Option(help="Replay the traces in this folder, without a boot.")
    ] = None,
    kernels: KernelsOption = Path("kernels"),
    output: Annotated[Path, typer.Option(help="Folder of the traces.")] = Path("reports/validate"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Boot traced kernels and compare every event with the reference model.

    With one CPU every address is predicted; with several, every event is checked against the
    invariants and the node rules. A kernel has as many vmap nodes as POSSIBLE CPUs. If a kernel
    diverges from the design, the exit code is 1, and the first divergent event is shown with the
    state around it, and the defect that explains the whole trace, if any.
    """
    from harness.build.cache import cache_folder
    from harness.process import SubprocessRunner
    from harness.run.validate import trace_kernel, validate_folder

    results = [validate_folder(place) for place in again or []]
    for name in () if again else names or TRACED:
        place = _new_folder(output, name)
        echo(f"{name}: traces go to {place}", err=True)
        source = (name, kernels, tuple(patch or ()))
        machine = (max(possible, cpus), cpus)
        runner = SubprocessRunner()
        trace_kernel(source, machine, loops, place, cache_folder(), runner, tell)
        results.append(validate_folder(place))
    if as_json:
        document = [{**asdict(each), "passed": each.passed} for each in results]
        echo(json.dumps({"version": 1, "validations": document}, indent=2))
    else:
        echo("\n".join(render_validation(each) for each in results))
    if not all(each.passed for each in results):
        raise typer.Exit(ExitCode.BAD_VERDICT)


def render_validation(result: "Validation") -> str:
    """Return the result as text."""
    nodes = "1 vmap node" if result.nodes == 1 else f"{result.nodes} vmap nodes"
    lines = [
        f"{result.kernel}, {nodes}, {result.cpus} CPU: {result.events:,} events, {_sum(result)}"
    ]
    for case, (total, predicted) in result.cases.items():
        lines.append(f"  {case:<20} {predicted:>9,} of {total:>9,} addresses predicted")
    lines += [f"  {fault}" for fault in result.faults[:5]]
    if len(result.faults) > 5:
        lines.append(f"  ... and {len(result.faults) - 5} more")
    for each in result.explanations[:3]:
        how = "explains the whole trace" if each.complete else f"explains {each.events:,} events"
        lines.append(f"  {how}: {each.name}")
    return "\n".join(lines)


def _sum(result: "Validation") -> str:
    if not result.passed:
        return "NOT as designed"
    return "every address predicted" if result.mode == "exact" else "every rule kept"


def _new_folder(output: Path, name: str) -> Path:
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S-%f")
    place = output / f"{name}-{stamp}"
    place.mkdir(parents=True)
    return place.resolve()
