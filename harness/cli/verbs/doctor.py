"""`vmapbench doctor`: check what this machine can do."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.console import echo
from harness.errors import ExitCode

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def command(
    reports: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("reports"),
    again: Annotated[
        bool, typer.Option("--again", help="Test KVM again instead of using the last result.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check toolchains, QEMU, KVM (by booting Linux under it), memory, disk and rights.

    The result for KVM is kept until this machine reboots or QEMU changes; --again repeats the test.
    The exit code is 3 if something necessary is missing.
    """
    from harness.build.cache import cache_folder
    from harness.process import SubprocessRunner
    from harness.run.doctor import Environment, examine

    def notify(text: str) -> None:
        echo(text, err=True)

    environment = Environment(SubprocessRunner(), cache_folder(), reports, notify)
    rows = examine(environment, again=again)
    if as_json:
        echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        table = Table("check", "", "found", "remedy", box=None)
        for row in rows:
            health = Text(row.health, style=_COLOURS[row.health])
            table.add_row(row.what, health, Text(row.found), Text(row.remedy))
        Console().print(table)
    if any(row.bad for row in rows):
        raise typer.Exit(ExitCode.FAILURE)
