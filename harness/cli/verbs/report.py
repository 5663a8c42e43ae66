"""`vmapbench report`: write a run's page again, or print its content as text."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.options import ReportsOption
from harness.cli.results import opened_store
from harness.console import echo


def command(
    run: Annotated[str, typer.Argument(help="A run: its id, a prefix, or latest.")] = "latest",
    form: Annotated[Literal["html", "md", "txt", "list"], typer.Option("--format")] = "html",
    published: Annotated[
        list[Path] | None,
        typer.Option(help="Show published figures beside the run's: a posted table, or a .yaml."),
    ] = None,
    reports: ReportsOption = Path("reports"),
) -> None:
    """Write the page of a run again and print its path, or print the content as text.

    `txt` has 72 columns, for a patch mail. `list` is a table with one row per case, with pages,
    huge mappings and loops, which `vmapbench parse` can read.
    """
    from harness.report.collect import collect_report
    from harness.report.listing import render_list
    from harness.report.published_rows import store_published
    from harness.report.text import render_mail, render_markdown
    from harness.report.view import View
    from harness.report.write import write_results

    with opened_store(reports) as store:
        run_id = store.resolve(run)
        for file in published or []:
            count = store_published(file, reports / run_id)
            echo(f"{file}: {count} published figures", err=True)
        if form == "html":
            echo(write_results(store, run_id, reports).page)
            return
        view = View(collect_report(store, run_id))
    renderers = {"md": render_markdown, "txt": render_mail, "list": render_list}
    echo(renderers[form](view))
