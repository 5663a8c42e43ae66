"""`vmapbench export`: a run in the format of another tool."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import ReportsOption
from harness.cli.results import opened_store


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


def export(
    run: Annotated[str, typer.Argument(help="A run: its id, the beginning of it, or latest.")],
    form: Annotated[
        str,
        typer.Option(
            "--format", "-f", help="csv, json, junit, kcidb, ktap, parquet, pts, pts_log."
        ),
    ] = "json",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; by default standard output.")
    ] = None,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Write a run in the format of another tool; docs/results.md describes each."""
    from harness.errors import InputError
    from harness.store.export import check_format, export_run

    check_format(form)
    with opened_store(reports) as store:
        run_id = store.resolve(run)
        if output is None:
            export_run(store, run_id, form, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        partial = output.with_name(output.name + ".part")  # never half a file under its name
        try:
            with partial.open("wb") as stream:
                export_run(store, run_id, form, stream)
            partial.replace(output)
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror}") from error
        finally:
            partial.unlink(missing_ok=True)
