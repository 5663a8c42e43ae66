"""`vmapbench bisect`: which change moved the time?"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import KernelsOption, ReportsOption
from harness.console import echo
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.run.bisect import BisectionResult
    from harness.run.bisect_plan import BisectRequest
    from harness.run.session import Session


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
    most_boots: Annotated[
        int | None,
        typer.Option(
            help="Most boots of one change; default: 20, with --resume as before.",
            min=3,
            max=1000,
            show_default=False,
        ),
    ] = None,
    layouts: Annotated[
        int | None,
        typer.Option(
            help="Most builds of one change, each laid out differently; default: 8, or as before.",
            min=1,
            max=1000,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a run: its id, or latest.")] = None,
    kernels: KernelsOption = Path("kernels"),
    reports: ReportsOption = Path("reports"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find the first change between GOOD and BAD that moved the time, with error bounds given.

    At each step boots are added until a sequential test decides. Changes that do not build, boot
    or pass are skipped. Ctrl-C and kill lose at most a boot; `--resume` goes on.
    """
    from harness.analysis.bisection import Phase
    from harness.analysis.bisection_ends import LEAST_LAYOUTS, SearchBounds
    from harness.report.bisection import as_document, render_outcome, store_result
    from harness.run.bisect_plan import BisectRequest

    if (file is None) == (resume is None):
        raise typer.BadParameter("name GOOD, BAD and a playbook, or --resume RUN-ID")
    if layouts is not None and 1 < layouts < LEAST_LAYOUTS:
        raise typer.BadParameter(
            f"--layouts: found {layouts}, expected 1, or {LEAST_LAYOUTS} and more"
        )
    given = {"most_boots": most_boots, "layouts": layouts}
    chosen = {name: value for name, value in given.items() if value is not None}
    if file is None:
        outcome = _resume(kernels, reports, str(resume), chosen)
    else:
        bounds = SearchBounds(alpha, beta, **chosen)
        request = BisectRequest(good, bad, tree, kernel, workload, case, bounds)
        found = _search(kernels, reports, file, request, dry_run)
        if found is None:
            return
        outcome = found
    store_result(outcome, reports)
    echo(json.dumps(as_document(outcome), indent=2) if as_json else render_outcome(outcome))
    if outcome.interrupted:
        raise typer.Exit(ExitCode.INTERRUPTED)
    if outcome.state.phase is Phase.NO_DIFFERENCE:
        raise typer.Exit(ExitCode.BAD_VERDICT)


def _search(
    kernels: Path, reports: Path, file: Path, request: "BisectRequest", dry_run: bool
) -> "BisectionResult | None":
    """Carry out a new bisection; of a dry run print the plan and return None."""
    from harness.run.bisect import bisect
    from harness.run.bisect_plan import plan_bisection, plan_lines
    from harness.spec.playbook import load_playbook

    with _session(kernels, reports) as (session, notify):
        plan = plan_bisection(load_playbook(file), request, session)
        if dry_run:
            echo("\n".join(plan_lines(plan, session)))
            return None
        return bisect(session, plan, notify)


def _resume(kernels: Path, reports: Path, run: str, chosen: Mapping[str, int]) -> "BisectionResult":
    """Go on with a bisection, with other bounds where they are given."""
    from harness.run.bisect import resume

    with _session(kernels, reports) as (session, notify):
        return resume(session, run, notify, **chosen)


@contextlib.contextmanager
def _session(
    kernels: Path, reports: Path
) -> "Iterator[tuple[Session, Callable[[BisectionResult], None]]]":
    """Give a session that shows its progress, and what says how far a bisection is."""
    from harness.cli.progress import show_progress
    from harness.report.bisection import render_progress
    from harness.run.session import Session

    with show_progress(live=sys.stderr.isatty()) as observer:
        session = Session(kernels, reports, observer, observer.build)
        yield session, lambda outcome: observer.say(render_progress(outcome))
