"""`vmapbench show`: print one run."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.options import ReportsOption
from harness.cli.results import opened_store
from harness.console import echo, shown
from harness.records import StoredRun


def command(
    run: Annotated[str, typer.Argument(help="A run: its id, a prefix of it, or latest.")],
    reports: ReportsOption = Path("reports"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a run: its kernels, and every planned boot with its verdict."""
    with opened_store(reports) as store:
        stored = store.stored_run(store.resolve(run))
        if as_json:
            echo(json.dumps(_document(stored), indent=2))
        else:
            _print(stored, Console())


def _document(stored: StoredRun) -> dict[str, object]:
    boots = []
    for job in stored.jobs:
        verdict, reason = stored.outcome(job)
        boots.append({**asdict(job), "verdict": verdict.value, "reason": reason})
    return {"version": 1, "run": asdict(stored.run), "boots": boots}


def _print(stored: StoredRun, console: Console) -> None:
    run, host = stored.run, stored.run.host
    facts = Table(box=None, show_header=False)
    facts.add_row("run", shown(run.id))
    facts.add_row("question", shown(run.plan.get("question")))
    facts.add_row("started", shown(run.started_at))
    facts.add_row("host", shown(f"{host.get('cpu', '')}, {host.get('cores', '?')} cores"))
    facts.add_row("vmapbench", shown(run.harness))
    kernels = Table("kernel", "release", "key", "what it is", box=None)
    for name, known in run.kernels.items():
        key = str(known.get("key", ""))[:12]
        kernels.add_row(
            shown(name), shown(known.get("release")), shown(key), shown(known.get("summary"))
        )
    for table in (facts, kernels, _boots(stored)):
        console.print(table)
        console.print()


def _boots(stored: StoredRun) -> Table:
    table = Table("boot", "kernel", "workload", "threads", "load", "verdict", "why", box=None)
    for job in stored.jobs:
        verdict, reason = stored.outcome(job)
        boot = stored.last_boots.get(job.position)
        load = f"{boot.load_ns / 1e9:.3f} s" if boot and boot.load_ns is not None else ""
        cells = (job.position, job.kernel, job.workload, job.nr_threads, load)
        style = "red" if verdict.bad else ""
        table.add_row(*map(shown, cells), shown(verdict, style), shown(reason[:200]))
    return table
