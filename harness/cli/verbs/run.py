"""`vmapbench run`: run a playbook and write its comparison."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import KernelsOption, ReportsOption
from harness.cli.results import is_bad, show_run
from harness.console import echo
from harness.errors import VmapbenchError

if TYPE_CHECKING:
    from harness.run.session import RunResult, Session


def command(
    file: Annotated[Path | None, typer.Argument(help="A playbook: its file, or a name.")] = None,
    resume: Annotated[str | None, typer.Option(help="Continue a run: its id, or latest.")] = None,
    hosts: Annotated[
        str | None,
        typer.Option(help="Lab hosts, one after the other: names or label=WORD, comma-separated."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Use all hosts in parallel, with this Dask scheduler: tcp://..."),
    ] = None,
    kernels: KernelsOption = Path("kernels"),
    reports: ReportsOption = Path("reports"),
    explain: Annotated[
        bool, typer.Option("--explain", help="Boot each kernel once more to say where time goes.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build the kernels, boot them in the planned order, measure, and write the comparison.

    Ctrl-C ends the current boot; earlier ones are kept, and `--resume` continues.
    """
    from harness.spec.host import select_hosts

    if (file is None) == (resume is None):
        raise typer.BadParameter("name a playbook, or --resume RUN-ID")
    if resume and hosts:
        raise typer.BadParameter("--resume takes no --hosts: a run continues on its own host")
    if scheduler and not (hosts and file):
        raise typer.BadParameter("--scheduler needs a playbook and --hosts")
    if scheduler and explain:
        raise typer.BadParameter("--explain needs a target of this machine: leave out --scheduler")
    names: list[str] = [host.name for host in select_hosts(hosts)] if hosts else []
    if scheduler and file:
        statuses = _run_on_fleet(scheduler, file, names, kernels, reports, as_json)
    else:
        statuses = _run_in_turn(
            names or [None],  # None: the host that the playbook names
            lambda name: _run_once(file, resume, name, kernels, reports, dry_run, as_json, explain),
        )
    if any(statuses):
        raise typer.Exit(max(statuses))


def _run_in_turn(names: Sequence[str | None], run: Callable[[str | None], bool]) -> list[int]:
    """Make a run on each host, one after the other; return the exit code of each.

    A run that fails does not affect the others; a single one raises VmapbenchError.
    """
    statuses: list[int] = []
    for name in names:
        try:
            statuses.append(int(run(name)))
        except VmapbenchError as error:
            if len(names) == 1:
                raise
            echo(f"{name}: {error}", err=True)
            statuses.append(error.exit_code)
    return statuses


def _run_on_fleet(
    scheduler: str, file: Path, names: list[str], kernels: Path, reports: Path, as_json: bool
) -> list[int]:
    """Make a run on each host in parallel; return the exit code of each."""
    from harness.errors import InputError

    try:
        from harness.run.fleet import make_session, run_fleet
    except ModuleNotFoundError as error:
        raise InputError("--scheduler needs Dask: pip install 'vmapbench[fleet]'") from error

    statuses: list[int] = []
    for name, ended in run_fleet(scheduler, file, names, kernels, reports):
        if isinstance(ended, VmapbenchError):
            echo(f"{name}: {ended}", err=True)
            statuses.append(ended.exit_code)
        else:
            written = show_run(make_session(kernels, reports), ended, reports, as_json)
            statuses.append(int(is_bad(written)))
    return statuses


def _run_once(
    file: Path | None,
    resume: str | None,
    host: str | None,
    kernels: Path,
    reports: Path,
    dry_run: bool,
    as_json: bool,
    explain: bool,
) -> bool:
    """Make one run; return whether the command should exit with BAD_VERDICT."""
    from harness.cli.progress import show_progress
    from harness.run.session import Session

    with show_progress(live=sys.stderr.isatty()) as observer:
        session = Session(kernels, reports, observer, observer.build)
        if dry_run and file is not None:
            echo("\n".join(session.plan_lines(file, host)))
            return False
        if file is None:
            ended = session.resume(str(resume), explain)
        else:
            ended = _run_or_fall_back(session, file, host, explain)
    return is_bad(show_run(session, ended, reports, as_json))


def _run_or_fall_back(
    session: "Session", file: Path, host: str | None, explain: bool
) -> "RunResult":
    """Run a playbook, or its fallback if its target is not possible here."""
    from harness.errors import UnsupportedError
    from harness.run.session import fallback_file
    from harness.spec.playbook import load_playbook

    try:
        return session.run(file, host, explain=explain)
    except UnsupportedError as error:
        name = load_playbook(file).fallback
        if name is None:
            raise
        other = fallback_file(file, name)
        echo(f"{error}\n  running {other} instead", err=True)
        return session.run(other, host, explain=explain)
