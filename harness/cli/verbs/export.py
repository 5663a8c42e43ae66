"""`vmapbench export`: write a run in the format of another tool."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from harness.cli.options import ReportsOption
from harness.cli.results import opened_store
from harness.plugins import names


def command(
    run: Annotated[str, typer.Argument(help="A run: its id, a prefix of it, or latest.")],
    form: Annotated[
        str,
        typer.Option("--format", "-f", help=f"{', '.join(names('harness.store.export'))}."),
    ] = "json",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; default: standard output.")
    ] = None,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Write a run in the format of another tool; docs/howto/exports.md describes each."""
    from harness.errors import InputError
    from harness.store.export import check_format, export_run

    check_format(form)
    with opened_store(reports) as store:
        run_id = store.resolve(run)
        if output is None:
            export_run(store, run_id, form, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        try:
            with _opened(output) as stream:
                export_run(store, run_id, form, stream)
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror}") from error


def _opened(output: Path) -> AbstractContextManager[BinaryIO]:
    """Return a stream that replaces the file `output`, or writes to a pipe or device."""
    from harness.files import replacing

    if output.exists() and not output.is_file():
        return output.open("wb")
    return replacing(output)
