"""Records of finished builds, and the search for one whose objects can be reused."""

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
        # A damaged build is skipped; it is repeated when its kernel is requested.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            found.append((path.stat().st_mtime_ns, path.parent, read_record(path.parent)))
    for _, folder, record in sorted(found, key=lambda build: build[0], reverse=True):
        yield folder, record


def near_inputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that builds with nearly the same objects have in common."""
    return {name: inputs.get(name) for name in NEAR_INPUTS}


def has_near_build(plan: BuildPlan, cache: Cache) -> bool:
    """Return whether there is a build with nearly the same objects as `plan`."""
    wanted = near_inputs(plan.inputs)
    return any(
        near_inputs(record["inputs"]) == wanted and not record.get("contained")
        for _, record in past_builds(cache)
    )


def find_base(plan: BuildPlan, cache: Cache, pristine: Path) -> BaseTree | None:
    """Return the finished tree whose objects are the best start, None if there is none.

    Its architecture and toolchain are the same. Preferred are the same source, then the same
    fragments, then the newest. Another source qualifies if its top Makefile is equal, that is, if
    it is of the same release. `pristine`: the folder with the source of `plan`. Contained builds do
    not qualify: their objects, among them programs that the next build would run, come from the
    author of their tree.
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
    """Return which inputs are equal; none if they are from another version of the harness."""
    if (inputs.keys() ^ others.keys()) - OPTIONAL_INPUTS:
        return set()
    return {key for key in inputs if inputs[key] == others.get(key)}


def _same_release(pristine: Path, tree: Path) -> bool:
    with contextlib.suppress(OSError):
        return filecmp.cmp(pristine / "Makefile", tree / "Makefile", shallow=False)
    return False


def usual_total(architecture: str, cache: Cache) -> int | None:
    """Return the number of targets of the latest build from nothing, for progress displays."""
    for _, record in past_builds(cache):
        if record["base"] is None and record["inputs"]["architecture"] == architecture:
            return int(record["targets"])
    return None
