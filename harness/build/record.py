"""The record of a finished build, and what earlier builds are good for."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.build.cache import Cache
from harness.build.plan import FORMAT, BuildPlan
from harness.build.tree import OBJECTS, BaseTree

RECORD = "kernel.json"


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the build in `folder`. Raises OSError or ValueError."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        raise ValueError(f"a build of format {record.get('format')}, expected {FORMAT}")
    return record


def past_builds(cache: Cache) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield folder and record of every finished build, the newest first."""
    found = []
    for path in cache.place("kernels", "x").parent.glob(f"*/{RECORD}"):
        # A damaged one is passed over: whoever asks for that kernel builds it again.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append((path.stat().st_mtime_ns, path.parent, read_record(path.parent)))
    for _, folder, record in sorted(found, key=lambda build: build[0], reverse=True):
        yield folder, record


def find_base(plan: BuildPlan, cache: Cache) -> BaseTree | None:
    """Return the tree whose objects are the best start: same source, same toolchain.

    One with the same fragments comes first, then the newest.
    """
    inputs = plan.inputs
    fitting = [
        (folder, record)
        for folder, record in past_builds(cache)
        if all(record["inputs"][key] == inputs[key] for key in ("source", "toolchain"))
        and (folder / "tree" / OBJECTS).is_dir()
    ]
    alike = [fit for fit in fitting if fit[1]["inputs"]["fragments"] == inputs["fragments"]]
    for folder, record in alike or fitting:
        return BaseTree(record["key"], folder / "tree", record["built_in"])
    return None


def usual_total(cache: Cache) -> int | None:
    """Return how many targets the latest build from nothing had, for a progress display."""
    totals = (record["targets"] for _, record in past_builds(cache) if record["base"] is None)
    return next(totals, None)
