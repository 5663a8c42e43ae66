"""`--explain` on the simulated machine: a planted loop and a lock held longer are named."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import KERNELS

PATCH = Path("patches/planted/longer-hold.patch")  # 500 turns under a lock, in alloc_vmap_area()
KERNEL = f"""\
version: 1
source: {{debian: linux-source-6.12}}
patches: [{PATCH}]
fragments: [fragments/base.config]
"""
PLAYBOOK = """\
version: 1
question: Where do the 500 turns show?
kernels: [vmap-nodes, longer-hold]
baseline: vmap-nodes
target: {kind: simulated, cpus: 2, memory_mib: 512}
workloads:
  - name: one-page
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 1000}
    expected_s: 60
repeats: 1
"""

ON_QEMU = """\
version: 1
question: Where does the time go?
kernels: [vmap-nodes]
baseline: vmap-nodes
target: {kind: qemu, cpus: 4, memory_mib: 1024, accelerator: tcg}
workloads:
  - name: one-page
    parameters: {nr_threads: 4, run_test_mask: 1, test_loop_count: 2000}
    expected_s: 60
repeats: 1
noise: {other_share: 1.0, steal_share: 1.0}
"""


def test_a_planted_loop_and_the_lock_held_meanwhile_are_named(tmp_path):
    kernels = tmp_path / "kernels"
    (kernels / PATCH).parent.mkdir(parents=True)
    shutil.copy(KERNELS / PATCH, kernels / PATCH)
    (kernels / "longer-hold.yaml").write_text(KERNEL)
    (tmp_path / "why.yaml").write_text(PLAYBOOK)
    command = [sys.executable, "-m", "harness.cli.main", "run", "why.yaml", "--explain", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1: what one boot a side says
    document = json.loads(done.stdout)
    assert len(document["boots"]) == 2  # the extra ones are no samples
    found = document["explanation"]
    assert found["functions"][0]["function"] == "alloc_vmap_area"
    assert found["functions"][0]["change"] > 0
    # The lock of a vmap node is a part of what the kernel allocated.
    held = {
        name: use_of(each, "allocated", "alloc_vmap_area")
        for name, each in found["kernels"].items()
    }
    before, after = (held[name] for name in ("vmap-nodes", "longer-hold"))
    assert after["timed"] >= 0.99 * after["taken"] >= 200
    assert mean_hold(after) > 3 * mean_hold(before)
    longest = max(found["kernels"]["longer-hold"]["locks"], key=lambda use: use["hold_ns"])
    assert longest["caller"] == "alloc_vmap_area"
    stacks = [each["functions"] for each in found["kernels"]["longer-hold"]["stacks"]]
    assert any(names[-1] == "alloc_vmap_area" and names[0] == "[module]" for names in stacks)
    page = (tmp_path / "reports" / "latest" / "index.html").read_text()
    assert 'id="locks-table"' in page
    assert page.count('aria-label="Flame graph"') == 3  # one a side and the difference
    assert page.index("alloc_vmap_area", page.index('id="explained-functions"'))
    for kernel in found["kernels"]:
        measured, explained = (
            virtual_times(file)
            for file in sorted((tmp_path / "reports" / "latest" / "logs").glob(f"*{kernel}-*"))
        )
        assert measured == explained  # following locks takes no virtual time


@pytest.mark.long  # a kernel that traces itself is built
def test_a_kernel_on_qemu_says_where_its_own_time_goes(tmp_path):
    (tmp_path / "why.yaml").write_text(ON_QEMU)
    command = [sys.executable, "-m", "harness.cli.main", "run", "why.yaml", "--explain", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert len(document["boots"]) == 1
    found = document["explanation"]["kernels"]["vmap-nodes"]
    times = {each["call"]: each for each in found["calls"]}
    assert times["alloc"]["calls"] >= 4 * 2000
    assert times["free"]["calls"] >= 4 * 2000
    assert 0 < times["alloc"]["p50"] <= times["alloc"]["p99"] <= times["alloc"]["max"]
    named = {name for stack in found["stacks"] for name in stack["functions"]}
    assert {"[module]", "__vmalloc_node_range_noprof"} <= named
    assert all(use["hold_ns"] is None for use in found["locks"])


def virtual_times(logs):
    return re.findall(r"virtual_ns (\d+)", (logs / "counts.txt").read_text())


def use_of(explained, lock, caller):
    (found,) = (use for use in explained["locks"] if (use["lock"], use["caller"]) == (lock, caller))
    return found


def mean_hold(use):
    return use["hold_ns"] / use["timed"]
