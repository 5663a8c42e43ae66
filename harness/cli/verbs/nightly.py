"""`vmapbench nightly`: measure what is new every night, and report changes."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import KernelsOption, ReportsOption
from harness.cli.progress import Lines
from harness.console import echo
from harness.errors import ExitCode


def command(
    file: Annotated[Path, typer.Argument(help="A nightly file; see docs/howto/nightly.md.")],
    kernels: KernelsOption = Path("kernels"),
    reports: ReportsOption = Path("reports"),
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print only the plan, or with --install the units."),
    ] = False,
    install: Annotated[
        bool, typer.Option("--install", help="Write a systemd service and its timer.")
    ] = False,
    to: Annotated[
        Path | None, typer.Option(help="For --install; default: the user's systemd folder.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only the summary line.")] = False,
    show_status: Annotated[
        bool,
        typer.Option("--status", help="Print only what is pending (confirmations, notices)."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Measure every candidate against its baseline, within the time budget, and report changes.

    Prints one line. Exit code 0: nothing got worse; 1: something did, or a candidate is broken; 2
    and 3: the run failed. The next call continues an unfinished run. --dry-run exits with 1 if a
    candidate would not be measured or a secret for the notices is not set.
    """
    from harness.nightly.deadline import Clock
    from harness.nightly.deliver import channels, missing_secrets
    from harness.nightly.run import NightlyRun
    from harness.run.session import Session
    from harness.spec.nightly import load_nightly

    spec = load_nightly(file)
    if show_status or as_json:
        _show_status(reports / "nightly" / spec.name / "state.json", as_json)
        return
    if install:
        _install(spec.name, _units(file, kernels, reports), to, dry_run)
        return
    observer = _Silent() if quiet else Lines()
    session = Session(kernels, reports, observer, observer.build)
    send = channels(spec.notices, os.environ)
    nightly = NightlyRun(spec, session, Clock(), send, observer.say)
    if dry_run:
        plan, unset = nightly.plan(), missing_secrets(spec.notices, os.environ)
        echo("\n".join([*plan.lines, *(f"notices: {text}" for text in unset)]))
        raise typer.Exit(ExitCode.OK if plan.whole and not unset else ExitCode.BAD_VERDICT)
    outcome = nightly.run()
    for error in outcome.errors:
        echo(f"vmapbench: {error}", err=True)
    echo(outcome.summary)
    raise typer.Exit(outcome.exit_code)


class _Silent(Lines):
    """Prints nothing, for cron, which mails every line."""

    def say(self, text: str) -> None:
        """Print nothing."""


def _show_status(path: Path, as_json: bool) -> None:
    import json

    from harness.nightly.state import load_state
    from harness.nightly.status import status, status_lines

    state = load_state(path)
    echo(json.dumps(status(state), indent=2) if as_json else "\n".join(status_lines(state)))


def _units(file: Path, kernels: Path, reports: Path) -> dict[str, str]:
    """Return the systemd units, by file name, with this interpreter and these folders."""
    from harness.nightly.timer import render_units
    from harness.spec.nightly import load_nightly

    argv = [sys.executable, "-m", "harness.cli.main", "nightly", str(file.resolve()), "--quiet"]
    argv += ["--kernels", str(kernels.resolve()), "--reports", str(reports.resolve())]
    return dict(render_units(load_nightly(file), argv, str(Path.cwd())))


def _install(name: str, units: dict[str, str], to: Path | None, dry_run: bool) -> None:
    import platformdirs

    folder = to or platformdirs.user_config_path("systemd") / "user"
    for unit, text in units.items():
        echo(f"--- {folder / unit}\n{text}")
    if dry_run:
        echo("nothing is written")
        return
    folder.mkdir(parents=True, exist_ok=True)
    for unit, text in units.items():
        (folder / unit).write_text(text, encoding="utf-8")
    timer = f"vmapbench-{name}.timer"
    echo(f"written; next: systemctl --user daemon-reload && systemctl --user enable --now {timer}")
