"""`vmapbench parse`: print the module's results in a kernel log."""

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.console import echo
from harness.errors import ExitCode, InputError
from harness.records import Sample
from harness.testmod.decode import TEXT_BYTES, decode_log
from harness.testmod.ktap import parse_ktap
from harness.testmod.log import ModuleLog, missing_without_workload, parse_log
from harness.testmod.posted import Posted, parse_posted
from harness.testmod.verdicts import scan_console


def command(
    file: Annotated[str, typer.Argument(help="A kernel log, or - for standard input.")],
    form: Annotated[Literal["json", "csv"], typer.Option("--format")] = "json",
) -> None:
    """Print what test_vmalloc reported in a kernel log, in any format, or a table posted in a mail.

    The exit code is 1 if the log has no run of the module or an incomplete one; standard error
    names what is missing.
    """
    text, remarks = _read(file)
    for remark in remarks:
        echo(f"{file}: {remark}", err=True)
    runs = parse_log(text)
    missing = [missing_without_workload(run) for run in runs]
    posted = parse_posted(text)
    if form == "json":
        pieces = _render_json(text, runs, missing, posted)
    else:
        pieces = iter([_render_csv(runs) if runs or not posted else _render_posted(posted)])
    for piece in pieces:
        echo(piece, nl=False)
    if not runs and not posted:
        echo(f"{file}: contains no line of test_vmalloc", err=True)
    for number, faults in enumerate(missing, start=1):
        for fault in faults:
            echo(f"{file}: run {number}: {fault}", err=True)
    if not (runs or posted) or any(missing):
        raise typer.Exit(ExitCode.BAD_VERDICT)


def _read(file: str) -> tuple[str, list[str]]:
    try:
        with sys.stdin.buffer if file == "-" else Path(file).open("rb") as stream:
            return decode_log(stream.read(TEXT_BYTES + 1))
    except (OSError, ValueError, InputError) as error:  # ValueError: a NUL in the path
        raise InputError(f"cannot read {file!r}: {error}") from error


def _render_json(
    text: str, runs: list[ModuleLog], missing: list[list[str]], posted: list[Posted]
) -> Iterator[str]:
    """Yield the document run by run: a long log has hundreds of thousands."""
    yield '{\n  "version": 1,\n  "runs": ['
    for number, (run, faults) in enumerate(zip(runs, missing, strict=True)):
        yield (",\n    " if number else "\n    ") + _dumps(_run_facts(run, faults), 4)
    yield "\n  ]" if runs else "]"
    yield f',\n  "findings": {_dumps([vars(found) for found in scan_console(text)], 2)}'
    if posted:
        yield f',\n  "posted": {_dumps([asdict(row) for row in posted], 2)}'
    yield f',\n  "ktap": {_dumps([asdict(test) for test in parse_ktap(text)], 2)}\n}}\n'


def _dumps(value: Any, indent: int) -> str:
    return json.dumps(value, indent=2).replace("\n", "\n" + " " * indent)


def _run_facts(run: ModuleLog, faults: list[str]) -> dict[str, Any]:
    return {
        **vars(run),
        "summaries": [summary._asdict() for summary in run.summaries],
        "totals": [vars(total) for total in run.totals],
        "complete": not faults,
        "missing": faults,
    }


def _render_csv(runs: list[ModuleLog]) -> str:
    text = io.StringIO()
    names = ["run", *Sample._fields]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for number, run in enumerate(runs, start=1):
        writer.writerows({"run": number, **summary._asdict()} for summary in run.summaries)
    return text.getvalue()


def _render_posted(posted: list[Posted]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Posted.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in posted)
    return text.getvalue()
