"""The record of a finished build, and what earlier builds are good for."""

import contextlib
import filecmp
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.build.cache import Cache
from harness.build.plan import FORMAT, NEAR_INPUTS, OPTIONAL_INPUTS, BuildPlan
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
        # A damaged one is skipped: the next request for that kernel builds it again.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append((path.stat().st_mtime_ns, path.parent, read_record(path.parent)))
    for _, folder, record in sorted(found, key=lambda build: build[0], reverse=True):
        yield folder, record


def near_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return those inputs that builds share whose objects are nearly all the same."""
    return {name: inputs.get(name) for name in NEAR_INPUTS}


def has_near_build(plan: BuildPlan, cache: Cache) -> bool:
    """Return whether a build is there whose objects are nearly all those of `plan`."""
    wanted = near_inputs(plan.inputs)
    return any(
        near_inputs(record["inputs"]) == wanted and not record.get("contained")
        for _, record in past_builds(cache)
    )


def find_base(plan: BuildPlan, cache: Cache, pristine: Path) -> BaseTree | None:
    """Return the tree whose objects are the best start, of the same architecture and toolchain.

    Its source is the same or a close one.
    The same source comes first, then the same fragments, then the newest. Another source is close
    when its top Makefile is alike, that is of the same release, as in a git history. `pristine`:
    the folder with the source of `plan`. What a contained build left is no base: its objects, and
    the programs among them that the next build would run, come from the author of its tree.
    """
    inputs, candidates = plan.inputs, []
    for folder, record in past_builds(cache):
        tree, alike = folder / "tree", _shared(record["inputs"], inputs)
        usable = (tree / OBJECTS).is_dir() and not record.get("contained")
        usable = usable and {"architecture", "toolchain"} <= alike
        if usable and ("source" in alike or _same_release(pristine, tree)):
            rank = ("source" in alike, "fragments" in alike)
            known = record.get("patched") if "source" in alike else None
            patched = None if known is None else tuple(known)
            candidates.append((rank, BaseTree(record["key"], tree, record["built_in"], patched)))
    # max() keeps the first of equals, and the newest builds come first
    return max(candidates, key=lambda one: one[0], default=(None, None))[1]


def _shared(inputs: Mapping[str, Any], others: Mapping[str, Any]) -> set[str]:
    """Return which inputs are alike; none where a version of the harness knows others."""
    if (inputs.keys() ^ others.keys()) - OPTIONAL_INPUTS:
        return set()
    return {key for key in inputs if inputs[key] == others.get(key)}


def _same_release(pristine: Path, tree: Path) -> bool:
    with contextlib.suppress(OSError):
        return filecmp.cmp(pristine / "Makefile", tree / "Makefile", shallow=False)
    return False


def usual_total(architecture: str, cache: Cache) -> int | None:
    """Return how many targets the latest build from nothing had, for a progress display."""
    for _, record in past_builds(cache):
        if record["base"] is None and record["inputs"]["architecture"] == architecture:
            return int(record["targets"])
    return None
