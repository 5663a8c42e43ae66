"""`vmapbench run` and `vmapbench check`: a playbook in, a comparison out."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import KernelsOption, ReportsOption

QUESTION_STYLE = "bold"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("run")(run)
    app.command("check")(check)


def check(
    file: Annotated[Path, typer.Argument(help="A playbook.")],
    kernels: KernelsOption = Path("kernels"),
) -> None:
    """Check a playbook and the kernel files it names; every fault is listed with its line."""
    from harness.run.plan import plan_jobs
    from harness.spec.kernel import load_kernel_spec
    from harness.spec.playbook import load_playbook

    playbook = load_playbook(file)
    for name in playbook.kernels:
        load_kernel_spec(name, kernels)
    typer.echo(f"{file}: {len(plan_jobs(playbook))} boots of {len(playbook.kernels)} kernels")


def run(
    file: Annotated[Path | None, typer.Argument(help="A playbook.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with a run: its id, or latest.")] = None,
    kernels: KernelsOption = Path("kernels"),
    reports: ReportsOption = Path("reports"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the kernels, boot them in the planned order, measure, and write the comparison.

    Ctrl-C ends the boot under way; what was measured is kept, and `--resume` goes on.
    """
    from harness.cli.progress import show_progress
    from harness.run.session import Session

    if (file is None) == (resume is None):
        raise typer.BadParameter("name a playbook, or --resume RUN-ID")
    with show_progress(quiet=as_json or not sys.stderr.isatty()) as observer:
        session = Session(kernels=kernels, reports=reports, observer=observer)
        if dry_run and file is not None:
            typer.echo("\n".join(session.plan_lines(file)))
            return
        outcome = session.run(file) if file is not None else session.resume(str(resume))
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=2))
    else:
        typer.echo(outcome.text)
    if outcome.interrupted:
        raise typer.Exit(130)
    if outcome.bad:
        raise typer.Exit(1)
