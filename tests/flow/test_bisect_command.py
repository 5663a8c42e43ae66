"""`vmapbench bisect` as a user calls it, on a store whose boots have generated times.

Kernels are those of the toy tree and really built; the boots were put into the store by a stand-in
for a target, and the command has none left to do.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.analysis.bisection import Phase
from harness.analysis.bisection_ends import SearchBounds
from harness.run.bisect_plan import BisectRequest
from tests.flow.test_bisect_toy import PLAIN, SLOW, TOY, Bench, GeneratedTarget, git


@pytest.fixture
def noisy(tmp_path, module_bytes):
    """A bench whose two commits differ by as much as boots do; its module has a real .modinfo."""
    tree = Path(shutil.copytree(TOY, tmp_path / "tree"))
    (tmp_path / "real.ko").write_bytes(module_bytes)
    dump = ["objcopy", "--dump-section", f".modinfo={tmp_path / 'modinfo'}"]
    subprocess.run([*dump, str(tmp_path / "real.ko"), str(tmp_path / "copy.ko")], check=True)
    numbers = ",".join(map(str, (tmp_path / "modinfo").read_bytes()))
    section = '__attribute__((section(".modinfo"), used))'
    (tree / "lib/test_vmalloc.c").write_text(
        f"{section} static const unsigned char modinfo[] = {{{numbers}}};\n"
    )
    git(tree, "init", "-q")
    for tag in ("good", "bad"):
        if tag == "bad":
            file = tree / "mm/vmalloc.c"
            file.write_text(file.read_text().replace(PLAIN, SLOW))
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", f"mm/vmalloc: Be {tag}")
        git(tree, "tag", tag)
    request = BisectRequest("good", "bad", tree=str(tree), bounds=SearchBounds(most_boots=8))
    return Bench(tmp_path, tree, request, module=None)


def bisect(bench, *options):
    argv = [sys.executable, "-m", "harness.cli.main", "bisect", "--resume", "latest", *options]
    argv += ["--kernels", str(bench.folder / "kernels"), "--reports", str(bench.folder)]
    environment = {**os.environ, "VMAPBENCH_CACHE": str(bench.cache.folder)}
    environment |= {"VMAPBENCH_STORE": f"sqlite:///{bench.folder / 'store.db'}"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def test_noise_as_large_as_the_step_ends_with_the_boots_that_it_would_take(noisy):
    outcome = noisy.search(GeneratedTarget(slow=1.05, noise=0.05))
    assert outcome.state.phase is Phase.NO_DIFFERENCE
    done = bisect(noisy)
    assert done.returncode == 1, done.stderr
    assert "is not shown to differ from 000-" in done.stdout
    assert re.search(r"Boots scatter by [3-8]\.\d%.*; 8 of each show [\d.]+% or more", done.stdout)
    asked = re.search(r"it would take about (\d+) boots", done.stdout)
    assert 8 < int(asked[1]) < 400
    again = f"next: vmapbench bisect --resume {outcome.run_id} --most-boots {asked[1]}"
    assert again in done.stdout
    kept = json.loads((noisy.folder / outcome.run_id / "bisection.json").read_text())
    assert kept["boots_to_show"] == int(asked[1])
    printed = bisect(noisy, "--json", "--explain")
    assert printed.returncode == 1, printed.stderr
    assert json.loads(printed.stdout) == kept
    assert "nothing is explained: no single change is named" in printed.stderr
    assert f"page: {noisy.folder / outcome.run_id / 'index.html'}" in printed.stderr


def test_two_builds_are_refused_in_words(noisy):
    done = bisect(noisy, "--layouts", "2")
    assert done.returncode == 2
    assert "--layouts: found 2, expected 1, or 3 and more" in " ".join(done.stderr.split())
