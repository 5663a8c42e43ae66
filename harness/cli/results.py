"""Functions for verbs that read or show results."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.console import echo
from harness.errors import ExitCode

if TYPE_CHECKING:
    from harness.report.write import Written
    from harness.run.session import RunResult, Session
    from harness.store.store import Store


@contextlib.contextmanager
def opened_store(reports: Path) -> "Iterator[Store]":
    """Open the store of `reports` (or of VMAPBENCH_STORE), which must exist already."""
    from harness.run.session import store_location
    from harness.store.store import open_store

    with contextlib.closing(open_store(store_location(reports), must_exist=True)) as store:
        yield store


def show_run(session: "Session", ended: "RunResult", reports: Path, as_json: bool) -> "Written":
    """Write and print the results of a run. Raises Exit (130) if it was interrupted."""
    from harness.report.collect import as_document
    from harness.report.text import render_text
    from harness.report.write import write_results
    from harness.run.noise import noise_advice
    from harness.verdict import Verdict

    with contextlib.closing(session.open_store()) as store:
        written = write_results(store, ended.run_id, reports)
    if as_json:
        echo(json.dumps(as_document(written.report), indent=2))
    else:
        echo(render_text(written.view, written.published))
        echo(f"page: {written.page}")
    if ended.interrupted:
        again = f"vmapbench run --resume {ended.run_id}{session.folder_options}"
        echo(f"interrupted; to continue: {again}", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED)
    for sentence in ended.unexplained:
        echo(sentence, err=True)
    if written.report.verdict is Verdict.NOISY:
        echo(
            "some boots never had a quiet host\n"
            + noise_advice(boot.facts for boot in written.report.boots),
            err=True,
        )
    return written


def is_bad(written: "Written") -> bool:
    """Return whether the command should exit with BAD_VERDICT."""
    from harness.verdict import Verdict

    return written.report.verdict.bad or written.report.verdict is Verdict.NOISY
