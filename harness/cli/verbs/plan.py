"""`vmapbench plan`: calculate how many boots it takes to show an effect, from a pilot run."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from harness.cli.options import ReportsOption, share
from harness.console import echo
from harness.errors import InputError

if TYPE_CHECKING:
    from harness.store.store import Store


def command(
    file: Annotated[Path, typer.Argument(help="A playbook: its file, or a name.")],
    detect: Annotated[str, typer.Option(help="The change to detect, like 3%.")] = "3%",
    power: Annotated[
        float, typer.Option(help="The probability of detecting it.", min=0.5, max=0.99)
    ] = 0.8,
    pilot: Annotated[
        str | None, typer.Option(help="The pilot run; default: the last one of the playbook.")
    ] = None,
    reports: ReportsOption = Path("reports"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print how many boots per side it takes to show a change of that size, for each case."""
    from harness.analysis.planning import required_boots
    from harness.analysis.times import boot_times
    from harness.run.session import store_location
    from harness.spec.playbook import load_playbook
    from harness.store.store import open_store
    from harness.verdict import Verdict

    effect = share("--detect", detect)
    playbook = load_playbook(file)
    with contextlib.closing(open_store(store_location(reports))) as store:
        run_id = store.resolve(pilot) if pilot else _last_run_of(store, playbook.name)
        samples, boots = store.samples_frame(run_id), store.boots_frame(run_id)
    passed = boots[boots["verdict"] == Verdict.PASSED.value]
    times = boot_times(samples, passed)
    needed = required_boots(times, effect, power, playbook.smallest_effect)
    if as_json:
        rows = json.loads(needed.to_json(orient="records"))
        echo(json.dumps({"pilot": run_id, "detect": effect, "power": power, "rows": rows}))
        return
    columns = ("workload", "threads", "case", "metric", "spread", "planned for", "boots per side")
    table = Table(*columns, box=None)
    for row in needed.to_dict("records"):
        known = row["boots"] is not None and row["boots"] == row["boots"]  # not NaN
        table.add_row(
            *(str(row[name]) for name in ("workload", "nr_threads", "case", "metric")),
            f"{row['spread']:.2%}",
            f"{row['upper_spread']:.2%}",
            str(row["boots"]) if known else "over 10,000",
        )
    Console().print(table)
    echo(
        f"to show {effect:.1%} with a probability of {power:.0%} in one of these rows, corrected "
        f"for their number; from {run_id}, with {needed['boots_pilot'].min()} boots per side, "
        "whose spread may be too low: planned for its upper 80 % limit"
    )


def _last_run_of(store: "Store", name: str) -> str:
    for run_id in reversed(store.list_runs()["id"]):
        if store.load_run(str(run_id)).plan.get("name") == name:
            return str(run_id)
    raise InputError(f"playbook {name} has no run to plan from\n  next: vmapbench run {name}")
