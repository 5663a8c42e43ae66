"""Renders the index page of all runs of a store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.changepoints import follow
from harness.report import trend
from harness.report.environment import environment
from harness.store.history import load_history
from harness.store.store import Store
from harness.text import visible


@dataclass(frozen=True)
class IndexEntry:
    """A run in the index. `answer`, `ratio`: from its results.json; empty and None without it."""

    id: str
    playbook: str
    started_at: str
    jobs: int
    passed: int
    ended: bool
    has_page: bool
    answer: str
    ratio: float | None


# Positions of the axes of a trend line, for the template.
_SIZE = {
    "width": trend.WIDTH,
    "height": trend.HEIGHT,
    "left": trend.LEFT,
    "right": trend.WIDTH - trend.RIGHT,
    "top": trend.TOP,
    "bottom": trend.HEIGHT - trend.BOTTOM,
}


def render_index(store: Store, reports: Path, *, served: bool = False) -> str:
    """Return the index page: all runs of the store, newest first, and their trends.

    `served`: by `vmapbench serve`, where every run has a page even if none was written.
    """
    rows = store.list_runs().to_dict("records")
    entries = [_entry(row, reports / str(row["id"]), served) for row in reversed(rows)]
    with_page = {entry.id for entry in entries if entry.has_page}
    trends = trend.layout_trends(follow(load_history(store)), with_page.__contains__)
    page = environment().get_template("index.html.j2")
    return visible(page.render(entries=entries, trends=trends, size=_SIZE))


def _entry(row: Mapping[Any, Any], folder: Path, served: bool) -> IndexEntry:
    results = _results(folder / "results.json")
    headline = results.get("headline") or {}
    parts = str(row["id"]).split("-")
    return IndexEntry(
        id=str(row["id"]),
        playbook="-".join(parts[2:-1]) or str(row["id"]),
        started_at=str(row["started_at"]),
        jobs=int(row["jobs"]),
        passed=int(row["passed"]),
        ended=bool(row["finished_at"]),
        has_page=served or (folder / "index.html").is_file(),
        answer=str(headline.get("sentence", "")),
        ratio=headline.get("ratio"),
    )


def _results(file: Path) -> Mapping[str, Any]:
    """Return the content of results.json; empty if it is missing or invalid."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
