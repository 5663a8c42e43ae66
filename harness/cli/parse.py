"""`vmapbench parse`: any kernel log in, the module's results out."""

import csv
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.console import echo
from harness.errors import InputError
from harness.testmod.decode import TEXT_BYTES, decode_log
from harness.testmod.ktap import parse_ktap
from harness.testmod.log import ModuleLog, Summary, missing_without_workload, parse_log
from harness.testmod.verdicts import scan_console


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("parse")(parse)


def parse(
    file: Annotated[str, typer.Argument(help="A kernel log, or - for standard input.")],
    form: Annotated[Literal["json", "csv"], typer.Option("--format")] = "json",
) -> None:
    """Print what test_vmalloc reported in a kernel log of any shape.

    Exit code 1 when the log holds no run of the module or an incomplete one; what is missing is
    named on standard error.
    """
    text, remarks = _read(file)
    for remark in remarks:
        echo(f"{file}: {remark}", err=True)
    runs = parse_log(text)
    missing = [missing_without_workload(run) for run in runs]
    shown = _render_json(text, runs, missing) if form == "json" else _render_csv(runs)
    echo(shown, nl=False)
    if not runs:
        echo(f"{file}: no line of test_vmalloc in it", err=True)
    for number, faults in enumerate(missing, start=1):
        for fault in faults:
            echo(f"{file}: run {number}: {fault}", err=True)
    if not runs or any(missing):
        raise typer.Exit(1)


def _read(file: str) -> tuple[str, list[str]]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            return decode_log(stream.read(TEXT_BYTES + 1))
    except (OSError, ValueError, InputError) as error:  # ValueError: a NUL in the path
        raise InputError(f"cannot read {file!r}: {error}") from error


def _render_json(text: str, runs: list[ModuleLog], missing: list[list[str]]) -> str:
    document = {
        "version": 1,
        "runs": [
            {
                **asdict(run),
                "summaries": [summary._asdict() for summary in run.summaries],
                "complete": not faults,
                "missing": faults,
            }
            for run, faults in zip(runs, missing, strict=True)
        ],
        "findings": [asdict(finding) for finding in scan_console(text)],
        "ktap": [asdict(test) for test in parse_ktap(text)],
    }
    return json.dumps(document, indent=2) + "\n"


def _render_csv(runs: list[ModuleLog]) -> str:
    text = io.StringIO()
    names = ["run", *Summary._fields]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for number, run in enumerate(runs, start=1):
        writer.writerows({"run": number, **summary._asdict()} for summary in run.summaries)
    return text.getvalue()
