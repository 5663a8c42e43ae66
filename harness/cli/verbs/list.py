"""`vmapbench list`: print all runs."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.options import ReportsOption
from harness.cli.results import opened_store
from harness.console import echo, shown


def command(
    reports: ReportsOption = Path("reports"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs, the oldest first."""
    with opened_store(reports) as store:
        runs = store.list_runs().to_dict("records")
    if as_json:
        echo(json.dumps({"version": 1, "runs": runs}, indent=2))
        return
    table = Table("run", "started", "boots planned", "done", "passed", "state", box=None)
    for run in runs:
        state = "complete" if run["done"] >= run["jobs"] else "unfinished: run --resume"
        names = ("id", "started_at", "jobs", "done", "passed")
        table.add_row(*(shown(run[name]) for name in names), shown(state))
    Console().print(table)
