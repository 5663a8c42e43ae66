"""The reference model against real kernels: right ones, and five that were broken on purpose.

The tests marked long replay more events, other kernels, and the rest of the planted defects.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness.model.trace import Allocated, Freed, Marked, Purged, parse_trace

REPOSITORY = Path(__file__).parents[2]
SOURCE_7_3 = Path("/usr/src/linux-source-7.3.tar.xz")
LONG = (pytest.mark.long,)
LONG_7_3 = (
    *LONG,
    pytest.mark.skipif(
        not SOURCE_7_3.is_file(), reason=f"no {SOURCE_7_3}: setup/install.sh linux7 installs it"
    ),
)


def validate(tmp_path, *arguments):
    command = [sys.executable, "-m", "harness.cli.main", "validate", "--json"]
    command += ["--kernels", str(REPOSITORY / "kernels"), "--output", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (0, 1), done.stderr
    (result,) = json.loads(done.stdout)["validations"]
    assert result["passed"] == (done.returncode == 0)
    return result


def predicts_every_address(result, nodes, each):
    """Assert that nothing differs and that every case had at least `each` allocations."""
    assert result["faults"] == []
    assert result["nodes"] == nodes
    assert result["events"] > 10 * each
    for name in ("fix_size", "random_size", "random_size_align", "long_busy_list", "full_fit"):
        total, predicted = result["cases"][name]
        assert total == predicted > each, name  # and as many frees


@pytest.mark.parametrize(("kernel", "nodes"), [("vmap-nodes-traced", 4), ("single-node-traced", 1)])
def test_every_address_is_predicted(tmp_path, kernel, nodes):
    predicts_every_address(validate(tmp_path, kernel, "--loops", "8000"), nodes, 7_200)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kernel", "nodes"),
    [
        ("vmap-nodes-traced", 4),
        ("single-node-traced", 1),
        ("linux-6.1-traced", 1),
        pytest.param("linux-7.3-traced", 4, marks=LONG_7_3),
    ],
)
def test_every_address_of_a_longer_load_is_predicted(tmp_path, kernel, nodes):
    predicts_every_address(validate(tmp_path, kernel, "--loops", "55000"), nodes, 50_000)


@pytest.mark.parametrize(
    "kernel", ["vmap-nodes-traced", pytest.param("linux-7.3-traced", marks=LONG_7_3)]
)
def test_two_cpus_keep_the_rules(tmp_path, kernel):
    result = validate(tmp_path, kernel, "--cpus", "2", "--possible", "2")
    assert (result["mode"], result["faults"]) == ("rules", [])
    assert result["events"] > 100_000


def purges_around_workers(events):
    """Return how often the loading task purged before and after the events of the workers."""
    users = Counter(e.where.pid for e in events if isinstance(e, Allocated))
    worker = max(users, key=users.__getitem__)
    own = [
        place
        for place, event in enumerate(events)
        if isinstance(event, Allocated | Freed) and event.where.pid == worker
    ]
    purges = [
        place
        for place, event in enumerate(events)
        if isinstance(event, Purged) and event.where.pid == 1
    ]
    return sum(place < own[0] for place in purges), sum(place > own[-1] for place in purges)


@pytest.mark.parametrize(
    ("kernel", "loading", "unloading"),
    [
        pytest.param("vmap-nodes-traced", 5, 4, marks=LONG),
        pytest.param("linux-7.3-traced", 16, 9, marks=LONG_7_3),  # execmem's read-only cache
    ],
)
def test_a_module_purges_as_it_is_loaded_and_unloaded(tmp_path, kernel, loading, unloading):
    result = validate(tmp_path, kernel, "--loops", "8000")
    with (Path(result["folder"]) / "trace").open() as lines:
        events = parse_trace(lines).events
    marks = [place for place, event in enumerate(events) if isinstance(event, Marked)]
    second = events[marks[1] : marks[2]]  # the first load of a boot may do more
    assert purges_around_workers(second) == (loading, unloading)


DEFECTS = {
    "wrong-node-on-free.patch": "wrong node on free",
    "decay-of-half": "decay of 50 %",
    "pool-limit-off-by-one.patch": "pool limit off by one",
    "lost-area-on-purge.patch": "lost area on purge",
    "ignored-alignment.patch": "ignored alignment",
}
"""Planted patch -> how its explanation begins."""
SHORT = ("wrong-node-on-free.patch", "pool-limit-off-by-one.patch")  # the ordinary tier


@pytest.mark.parametrize(
    ("kernel", "patch", "defect"),
    [
        *(
            pytest.param("vmap-nodes-traced", *row, marks=() if row[0] in SHORT else LONG)
            for row in DEFECTS.items()
        ),
        *(pytest.param("linux-7.3-traced", *row, marks=LONG_7_3) for row in DEFECTS.items()),
        pytest.param(
            "linux-7.3-traced",
            "decay-to-nothing.patch",
            "decay of small pools by the other rule",
            marks=LONG_7_3,
        ),
    ],
)
def test_a_planted_defect_is_named(tmp_path, kernel, patch, defect):
    plant = ("--patch", f"patches/planted/{patch}")
    result = validate(tmp_path, kernel, "--loops", "8000", *plant)
    best = result["explanations"][0]
    assert best["name"].startswith(defect)
    assert best["events"] == best["total"]
