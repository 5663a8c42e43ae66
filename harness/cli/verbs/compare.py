"""`vmapbench compare`: compare the kernels of a run, or two runs."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.options import ReportsOption, share
from harness.cli.results import opened_store
from harness.console import echo, shown

if TYPE_CHECKING:
    from harness.analysis.compare import Comparison

_STYLES = {"faster": "green", "slower": "red"}  # only significant differences are coloured


def command(
    run: Annotated[str, typer.Argument(help="A run: its id, a prefix of it, or latest.")],
    other: Annotated[
        str | None,
        typer.Argument(help="A later run, to compare the kernels of both."),
    ] = None,
    smallest_effect: Annotated[
        str | None,
        typer.Option(help="Smallest difference called faster or slower; default: the playbook's."),
    ] = None,
    reports: ReportsOption = Path("reports"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare the kernels of one run, or each kernel with itself in another run."""
    from harness.report.comparisons import compare_kernels, compare_runs

    smallest = share("--smallest-effect", smallest_effect) if smallest_effect else None
    with opened_store(reports) as store:
        first = store.resolve(run)
        found = (
            compare_runs(store, first, store.resolve(other), smallest)
            if other
            else compare_kernels(store, first, smallest)
        )
    if as_json:
        from harness.report.collect import comparison_document

        documents = {title: comparison_document(comparison) for title, comparison in found.items()}
        echo(json.dumps({"version": 1, "comparisons": documents}, indent=2))
        return
    console = Console()
    for title, comparison in found.items():
        console.print(shown(title, "bold"))
        console.print(_table(comparison))
        for line in (*comparison.notes, comparison.answer):
            console.print(shown(line))
        console.print()


def _table(comparison: "Comparison") -> Table:
    table = Table("workload", "threads", "candidate", "case", "metric", box=None)
    for name in ("ratio", "95 % interval", "verdict", ""):
        table.add_column(name)
    for row in comparison.rows.to_dict("records"):
        ratio = "" if math.isnan(row["ratio"]) else f"{row['ratio']:.3f}x"
        interval = "" if math.isnan(row["low"]) else f"{row['low']:.3f} to {row['high']:.3f}"
        names = ("workload", "nr_threads", "candidate", "case", "metric")
        table.add_row(
            *(shown(row[name]) for name in names),
            shown(ratio),
            shown(interval),
            shown(row["word"], _STYLES.get(row["word"], "")),
            shown(row["note"]),
        )
    return table
