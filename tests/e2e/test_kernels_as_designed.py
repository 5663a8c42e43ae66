"""The reference model against real kernels: right ones, and five that were broken on purpose.

The tests marked long replay more events, an older kernel, and the rest of the planted defects.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


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
    [("vmap-nodes-traced", 4), ("single-node-traced", 1), ("linux-6.1-traced", 1)],
)
def test_every_address_of_a_longer_load_is_predicted(tmp_path, kernel, nodes):
    predicts_every_address(validate(tmp_path, kernel, "--loops", "55000"), nodes, 50_000)


def test_two_cpus_keep_the_rules(tmp_path):
    result = validate(tmp_path, "vmap-nodes-traced", "--cpus", "2", "--possible", "2")
    assert (result["mode"], result["faults"]) == ("rules", [])
    assert result["events"] > 100_000


@pytest.mark.parametrize(
    ("patch", "defect"),
    [
        ("wrong-node-on-free.patch", "wrong node on free"),
        pytest.param("decay-of-half", "decay of 50 %", marks=pytest.mark.long),
        ("pool-limit-off-by-one.patch", "pool limit off by one"),
        pytest.param("lost-area-on-purge.patch", "lost area on purge", marks=pytest.mark.long),
        pytest.param("ignored-alignment.patch", "ignored alignment", marks=pytest.mark.long),
    ],
)
def test_a_planted_defect_is_named(tmp_path, patch, defect):
    plant = ("--patch", f"patches/planted/{patch}")
    result = validate(tmp_path, "vmap-nodes-traced", "--loops", "8000", *plant)
    best = result["explanations"][0]
    assert best["name"].startswith(defect)
    assert best["events"] == best["total"]
