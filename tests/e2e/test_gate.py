"""The gate on real debug kernels: Linux as it is passes, and each planted defect is named."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.long  # two debug kernels, then one more for each defect


def gate(tmp_path, *arguments):
    """Return check -> its part of the answer, as JSON has it."""
    command = [sys.executable, "-m", "harness.cli.main", "gate", "vmap-nodes", "--format", "json"]
    command += ["--kernels", str(REPOSITORY / "kernels"), "--output", str(tmp_path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["passed"] == (done.returncode == 0)
    return {check["check"]: check for check in document["checks"]}


def test_linux_as_it_is_passes(tmp_path):
    """Nothing is reported without a reason."""
    checks = gate(tmp_path)
    assert {name: check["verdict"] for name, check in checks.items()} == dict.fromkeys(
        ("memory", "failures", "hotplug", "races", "model"), "passed"
    )


@pytest.mark.parametrize(
    ("defect", "check", "finding", "place"),
    [
        ("use-after-free", "memory", "KASAN: use after free", "reclaim_list_global"),
        ("lock-inversion", "memory", "lockdep: circular dependency", "find_unlink_vmap_area"),
        ("sleep-under-lock", "memory", "sleeping in atomic context", "alloc_vmap_area"),
        ("leak-on-failure", "failures", "kmemleak object", "__get_vm_area_node"),
        ("data-race", "races", "KCSAN: data race", "vfree"),
    ],
)
def test_a_planted_defect_is_named(tmp_path, defect, check, finding, place):
    """By the check that is there for it, with the function where it is."""
    found = gate(tmp_path, "--checks", check, "--patch", f"patches/planted/{defect}.patch")[check]
    reports = [each["report"] for each in found["findings"] if each["name"] == finding]
    assert reports, found["reason"]
    assert any(place in report for report in reports)
