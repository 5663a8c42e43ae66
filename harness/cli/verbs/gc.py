"""`vmapbench gc`: remove what can be made again."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import ReportsOption
from harness.console import echo

if TYPE_CHECKING:
    from harness.run.garbage import Choice

_UNITS_S = {"h": 3_600, "d": 86_400, "w": 7 * 86_400}


def command(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, remove nothing.")
    ] = False,
    disk_budget: Annotated[
        str, typer.Option(help="Remove the oldest until the rest fits, for example 20GiB.")
    ] = "",
    older_than: Annotated[
        str, typer.Option(help="Remove what was not used for this time: 12h, 30d, 8w.")
    ] = "30d",
    reports: ReportsOption = Path("reports"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Remove built kernels, logs and pages that are old or exceed a disk budget; never raw samples.

    What a process uses is kept. Kernels and pages are made again when they are needed.
    """
    import time

    from harness.build.cache import Cache, cache_folder
    from harness.run.garbage import choose, collect, disk_use, find_items

    budget, oldest_s = _bytes(disk_budget), _seconds(older_than)
    cache = Cache(cache_folder())
    used = disk_use(cache.folder, reports)
    chosen = choose(find_items(cache, reports), time.time(), oldest_s, used, budget)
    rows: list[dict[str, Any]] = []

    def notify(choice: "Choice", goes: bool) -> None:
        rows.append(_row(choice, goes))
        if not as_json:
            echo(_line(rows[-1], dry_run))

    collect(chosen, dry_run, notify)
    freed = sum(row["bytes"] for row in rows if row["dropped"])
    if as_json:
        document = {"version": 1, "dry_run": dry_run, "items": rows, "freed_bytes": freed}
        echo(json.dumps(document | {"used_bytes": used, "budget_bytes": budget}, indent=2))
        return
    echo(f"{'would free' if dry_run else 'freed'} {_size(freed)} of {_size(used)}")
    if budget is not None and used - freed > budget:
        over = _size(used - freed - budget)
        echo(f"still {over} over the budget: the rest is in use or always kept")


def _row(choice: "Choice", goes: bool) -> dict[str, Any]:
    item = choice.item
    return {
        "kind": item.kind,
        "name": item.name,
        "path": str(item.path),
        "bytes": item.frees,
        "used_at": round(item.used_at),
        "reason": choice.reason,
        "dropped": goes,
    }


def _line(row: dict[str, Any], dry_run: bool) -> str:
    done = ("would remove" if dry_run else "removed") if row["dropped"] else "in use, kept:"
    return f"{done} {row['kind']} {row['name']}: {_size(row['bytes'])}, {row['reason']}"


def _size(count: float) -> str:
    """Return "1.5 GiB"."""
    from pydantic import ByteSize

    return ByteSize(max(count, 0)).human_readable(separator=" ")


def _bytes(text: str) -> int | None:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    from harness.errors import InputError

    if not text:
        return None
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise InputError(
            f"--disk-budget: found {text!r}, expected a size such as 20GiB or 500MiB"
        ) from error


def _seconds(text: str) -> float:
    from harness.errors import InputError

    match = re.fullmatch(r"(\d+)\s*([hdw])", text)
    if not match:
        raise InputError(f"--older-than: found {text!r}, expected an age such as 12h, 30d or 8w")
    return int(match[1]) * _UNITS_S[match[2]]
