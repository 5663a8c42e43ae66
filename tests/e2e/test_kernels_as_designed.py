"""The reference model against real kernels: right ones, and five that were broken on purpose."""

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


@pytest.mark.parametrize(
    ("kernel", "nodes"),
    [("vmap-nodes-traced", 4), ("single-node-traced", 1), ("linux-6.1-traced", 1)],
)
def test_every_address_is_predicted(tmp_path, kernel, nodes):
    result = validate(tmp_path, kernel, "--loops", "55000")
    assert result["faults"] == []
    assert result["nodes"] == nodes
    assert result["events"] > 500_000
    names = ("fix_size", "random_size", "random_size_align", "long_busy_list", "full_fit")
    for name in names:
        total, predicted = result["cases"][name]
        assert total == predicted > 50_000, name  # and as many frees


def test_two_cpus_keep_the_rules(tmp_path):
    result = validate(tmp_path, "vmap-nodes-traced", "--cpus", "2", "--possible", "2")
    assert (result["mode"], result["faults"]) == ("rules", [])
    assert result["events"] > 100_000


@pytest.mark.parametrize(
    ("patch", "defect"),
    [
        ("wrong-node-on-free.patch", "wrong node on free"),
        ("decay-of-half", "decay of 50 %"),
        ("pool-limit-off-by-one.patch", "pool limit off by one"),
        ("lost-area-on-purge.patch", "lost area on purge"),
        ("ignored-alignment.patch", "ignored alignment"),
    ],
)
def test_a_planted_defect_is_named(tmp_path, patch, defect):
    plant = ("--patch", f"patches/planted/{patch}")
    result = validate(tmp_path, "vmap-nodes-traced", "--loops", "8000", *plant)
    best = result["explanations"][0]
    assert best["name"].startswith(defect)
    assert best["events"] == best["total"]
