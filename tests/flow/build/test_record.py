"""Which earlier build is the best start."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.cache import Cache
from harness.build.plan import FORMAT, BuildPlan
from harness.build.record import find_base, past_builds, usual_total
from harness.build.source import PinnedSource
from harness.build.tuxmake import Toolchain
from harness.spec.kernel import KernelSpec

NOWHERE = Path("/nonexistent")


@pytest.fixture
def plan(toy: Callable[..., KernelSpec], kernels: Path) -> BuildPlan:
    source = PinnedSource("sha256-1", "", lambda _: None)
    return BuildPlan(toy(), source, (), (kernels / "base.config",), Toolchain("gcc", "12", False))


@pytest.fixture
def keep(cache: Cache, plan: BuildPlan) -> Callable[..., Path]:
    """Leave a finished build in the cache; keywords replace inputs and record."""

    def make(key: str, age_s: int, targets: int = 9, base: str | None = None, **inputs: object):
        folder = cache.place("kernels", key)
        (folder / "tree/objects").mkdir(parents=True)
        known = {**plan.inputs, **inputs}
        record = {"format": FORMAT, "key": key, "inputs": known, "built_in": "/b", "base": base}
        (folder / "kernel.json").write_text(json.dumps({**record, "targets": targets}))
        os.utime(folder / "kernel.json", (1e9 - age_s, 1e9 - age_s))
        return folder

    return make


def test_the_same_fragments_come_before_the_newest(
    cache: Cache, plan: BuildPlan, keep: Callable[..., Path]
) -> None:
    assert find_base(plan, cache, NOWHERE) is None
    keep("other-source", 0, source="sha256-2")
    keep("other-compiler", 0, toolchain=["gcc", "13"])
    assert find_base(plan, cache, NOWHERE) is None
    keep("other-fragments", 1, fragments=["x"])
    assert find_base(plan, cache, NOWHERE).key == "other-fragments"
    keep("older", 3)
    keep("newer", 2)
    base = find_base(plan, cache, NOWHERE)
    assert (base.key, base.built_in) == ("newer", "/b")


def test_a_build_with_inputs_that_only_another_version_knows_is_no_base(
    cache: Cache, plan: BuildPlan, keep: Callable[..., Path]
) -> None:
    keep("of-a-later-version", 0, invented_later=1)
    older = keep("of-an-earlier-version", 1) / "kernel.json"
    record = json.loads(older.read_text())
    del record["inputs"]["fragments"]
    older.write_text(json.dumps(record))
    assert find_base(plan, cache, NOWHERE) is None


def test_another_source_will_do_when_it_is_of_the_same_release(
    cache: Cache, plan: BuildPlan, keep: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text("VERSION = 6\n")
    (keep("far", 0, source="sha256-2") / "tree/Makefile").write_text("VERSION = 7\n")
    assert find_base(plan, cache, tmp_path) is None
    (keep("close", 1, source="sha256-3") / "tree/Makefile").write_text("VERSION = 6\n")
    assert find_base(plan, cache, tmp_path).key == "close"
    keep("same", 2)
    assert find_base(plan, cache, tmp_path).key == "same"


def test_damaged_builds_are_passed_over(
    cache: Cache, plan: BuildPlan, keep: Callable[..., Path]
) -> None:
    for number, content in enumerate(["", "[]", '{"format": 99}', "null"]):
        (keep(f"bad-{number}", 0) / "kernel.json").write_text(content)
    assert list(past_builds(cache)) == []
    assert find_base(plan, cache, NOWHERE) is None


def test_the_total_is_that_of_the_latest_build_from_nothing(
    cache: Cache, keep: Callable[..., Path]
) -> None:
    assert usual_total("x86_64", cache) is None
    keep("old", 3, targets=1000)
    keep("new", 2, targets=1500)
    keep("incremental", 1, targets=40, base="new")
    assert usual_total("x86_64", cache) == 1500
