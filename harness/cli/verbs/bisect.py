"""`vmapbench bisect`: find the change that moved a time."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import KernelsOption, ReportsOption
from harness.cli.results import opened_store
from harness.console import echo
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.bisect import BisectionResult
    from harness.run.bisect_plan import BisectRequest
    from harness.run.session import Session

MostBootsOption = Annotated[
    int | None,
    typer.Option(
        help="Most boots of one change; default: 20, with --resume as before.",
        min=3,
        max=1000,
        show_default=False,
    ),
]
LayoutsOption = Annotated[
    int | None,
    typer.Option(
        help="Most builds of one change, each laid out differently; default: 8, or as before.",
        min=1,
        max=1000,
        show_default=False,
    ),
]


def command(
    good: Annotated[str, typer.Argument(help="A commit, or the kernel that a series is for.")] = "",
    bad: Annotated[str, typer.Argument(help="A commit; a folder or mailbox of patches.")] = "",
    file: Annotated[Path | None, typer.Argument(help="A playbook: target and workload.")] = None,
    tree: Annotated[
        str, typer.Option(help="The git tree; default: that of the kernel file's source.")
    ] = "",
    kernel: Annotated[
        str, typer.Option(help="Kernel file whose configuration is used; default: the baseline's.")
    ] = "",
    workload: Annotated[
        str, typer.Option(help="A workload of the playbook; default: the first.")
    ] = "",
    case: Annotated[str, typer.Option(help="The case whose time is compared.")] = "whole load",
    alpha: Annotated[
        float, typer.Option(help="Probability of calling a good change bad.", min=1e-6, max=0.3)
    ] = 0.05,
    beta: Annotated[
        float, typer.Option(help="Probability of calling a bad change good.", min=1e-6, max=0.3)
    ] = 0.05,
    most_boots: MostBootsOption = None,
    layouts: LayoutsOption = None,
    resume: Annotated[str | None, typer.Option(help="Continue a run: its id, or latest.")] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Boot the change and its parent once more to say why."),
    ] = False,
    kernels: KernelsOption = Path("kernels"),
    reports: ReportsOption = Path("reports"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the first change between GOOD and BAD that moved the time, within given error bounds.

    At each step boots are added until a sequential test decides. Changes that do not build, boot
    or pass are skipped. Ctrl-C and kill lose at most one boot; `--resume` continues.
    """
    from harness.analysis.bisection_ends import SearchBounds
    from harness.run.bisect_plan import BisectRequest

    if (file is None) == (resume is None):
        raise typer.BadParameter("name GOOD, BAD and a playbook, or --resume RUN-ID")
    given = _given_bounds(most_boots, layouts)
    if file is None:
        _show(_resume(kernels, reports, str(resume), given, explain), reports, as_json, explain)
        return
    bounds = SearchBounds(alpha, beta, **given)
    request = BisectRequest(good, bad, tree, kernel, workload, case, bounds)
    outcome = _search(kernels, reports, file, request, dry_run, explain)
    if outcome is not None:
        _show(outcome, reports, as_json, explain)


def _given_bounds(most_boots: int | None, layouts: int | None) -> dict[str, int]:
    """Return the bounds named on the command line. Raises BadParameter for too few layouts."""
    from harness.analysis.bisection_ends import LEAST_LAYOUTS

    if layouts is not None and 1 < layouts < LEAST_LAYOUTS:
        raise typer.BadParameter(
            f"--layouts: found {layouts}, expected 1, or {LEAST_LAYOUTS} and more"
        )
    options = {"most_boots": most_boots, "layouts": layouts}
    return {name: value for name, value in options.items() if value is not None}


def _show(outcome: "BisectionResult", reports: Path, as_json: bool, explain: bool) -> None:
    """Store and print the result. Raises Exit when interrupted or GOOD and BAD do not differ.

    `explain`: write the run's page as well, which says why the change is that was found.
    """
    from harness.analysis.bisection import Phase
    from harness.report.bisection import as_document, render_outcome, store_result
    from harness.report.write import write_results

    store_result(outcome, reports)
    echo(json.dumps(as_document(outcome), indent=2) if as_json else render_outcome(outcome))
    for sentence in outcome.unexplained:
        echo(sentence, err=True)
    if explain:
        with opened_store(reports) as store:
            echo(f"page: {write_results(store, outcome.run_id, reports).page}", err=as_json)
    if outcome.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if outcome.state.phase is Phase.NO_DIFFERENCE:
        raise typer.Exit(ExitCode.BAD_VERDICT)


def _search(
    kernels: Path,
    reports: Path,
    file: Path,
    request: "BisectRequest",
    dry_run: bool,
    explain: bool,
) -> "BisectionResult | None":
    """Run a new bisection; with `dry_run` print its plan and return None."""
    from harness.run.bisect import bisect
    from harness.run.bisect_plan import plan_bisection, plan_lines
    from harness.spec.playbook import load_playbook

    with _session(kernels, reports) as (session, notify):
        plan = plan_bisection(load_playbook(file), request, session)
        if dry_run:
            echo("\n".join(plan_lines(plan, session)))
            return None
        return bisect(session, plan, notify, explain=explain)


def _resume(
    kernels: Path, reports: Path, run: str, chosen: Mapping[str, int], explain: bool
) -> "BisectionResult":
    """Continue a bisection; `chosen` replaces bounds that it was started with."""
    from harness.run.bisect import resume

    with _session(kernels, reports) as (session, notify):
        return resume(session, run, notify, explain=explain, **chosen)


@contextlib.contextmanager
def _session(
    kernels: Path, reports: Path
) -> "Iterator[tuple[Session, Callable[[BisectionResult], None]]]":
    """Yield a session that shows progress, and a function that prints how far a bisection is."""
    from harness.cli.progress import show_progress
    from harness.report.bisection import render_progress
    from harness.run.session import Session

    with show_progress(live=sys.stderr.isatty()) as observer:
        session = Session(kernels, reports, observer, observer.build)
        yield session, lambda outcome: observer.say(render_progress(outcome))
