"""Finds a planted slow-down among real commits, on the simulated machine.

The history is generated: Debian's 6.12 source, of which each commit changes mm/vmalloc.c a little.
Its commits are the same every time, so a second run finds every kernel built.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.build.cache import Cache, cache_folder
from harness.build.worktree import ensure_repository
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec

FILE = "mm/vmalloc.c"
# One worker: whether two, siblings of one core, are at it at the same time is chance, which makes
# two groups of boots, of 0.27 and 0.46 ms.
PLAYBOOK = """\
version: 1
question: Which commit made vmalloc slower?
kernels: [vmap-nodes]
baseline: vmap-nodes
target: {kind: simulated, cpus: 2, machine: threadripper-3970x, memory_mib: 512}
workloads:
  - name: small
    parameters: {nr_threads: 1, run_test_mask: 1, test_loop_count: 300, sequential_test_order: true}
    expected_s: 120
repeats: 3
"""
ENTRY = "	if (WARN_ON_ONCE(!size))\n		return NULL;\n"  # of __vmalloc_node_range_noprof()


@dataclass(frozen=True)
class Plan:
    """How many commits, which one is slow, and which does not build. `tried`: least and most."""

    commits: int
    culprit: int
    broken: int
    tried: tuple[int, int]


# The broken one is where plain bisection looks first.
PLANS = [
    Plan(8, 6, 4, (3, 6)),
    pytest.param(Plan(32, 21, 16, (5, 8)), marks=pytest.mark.long),
]


def edit(plan: Plan, text: str, number: int) -> tuple[str, str]:
    """Return the file as the commit of that number leaves it, and the commit's subject."""
    if number == plan.culprit:
        loop = "	for (int i = 0; i < 500; i++)\n		barrier();\n"
        return text.replace(ENTRY, ENTRY + loop), "mm/vmalloc: Settle before allocating"
    if number == plan.broken:
        return text + "int vmalloc_broken(void) { return no_such_name; }\n", "mm/vmalloc: Break it"
    if number == plan.broken + 1:
        return text.replace("no_such_name", "0"), "mm/vmalloc: Mend it"
    if number % 2:
        return text + f"/* note {number} */\n", f"mm/vmalloc: Note {number}"
    helper = f"static int __used vmalloc_step_{number}(int x)\n{{\n	return x * {number};\n}}\n"
    return text + helper, f"mm/vmalloc: Add step {number}, which moves the code behind it"


class Repository:
    """A bare git repository that is written without a work tree."""

    def __init__(self, folder: Path):
        self.folder = folder

    def git(self, *argv, text=None, **environment):
        fixed = {
            "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
            "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
            "GIT_AUTHOR_DATE": "2024-11-17T00:00:00Z", "GIT_COMMITTER_DATE": "2024-11-17T00:00:00Z",
            "GIT_DIR": str(self.folder), "GIT_CONFIG_GLOBAL": os.devnull,
        }  # fmt: skip
        done = subprocess.run(
            ["git", "-c", "gc.auto=0", *argv],
            input=text, capture_output=True, text=True, check=True,
            env={**os.environ, **fixed, **environment},
        )  # fmt: skip
        return done.stdout.strip()


@pytest.fixture(scope="session")
def imported(repository_root, built):
    """The repository of the source, made once and kept in the cache. About a minute."""
    built("vmap-nodes")  # from whose objects every commit's kernel starts
    spec = load_kernel_spec("vmap-nodes", repository_root / "kernels")
    return ensure_repository(spec, Cache(cache_folder()), SubprocessRunner())


@pytest.fixture(scope="session")
def repository_root():
    return Path(__file__).parents[2]


@pytest.fixture
def history(imported, tmp_path):
    """Makes a repository with a plan's commits; returns it and the ids of GOOD and all commits."""
    return lambda plan: write_history(plan, imported, tmp_path)


def write_history(plan, imported, tmp_path):
    folder = tmp_path / "history.git"
    made = Repository(folder)
    made.git("clone", "-q", "--bare", "--shared", str(imported.folder), str(folder))
    ids = [imported.base]
    text = made.git("show", f"{ids[0]}:{FILE}") + "\n"
    assert text.count(ENTRY) == 1
    made.git("read-tree", ids[0])
    for number in range(1, plan.commits + 1):
        text, subject = edit(plan, text, number)
        blob = made.git("hash-object", "-w", "--stdin", text=text)
        made.git("update-index", "--cacheinfo", f"100644,{blob},{FILE}")
        tree = made.git("write-tree")
        ids.append(made.git("commit-tree", tree, "-p", ids[-1], "-m", subject))
    return folder, ids


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.commits}-commits")
def test_the_planted_commit_is_found_past_one_that_does_not_build(
    history, repository_root, tmp_path, plan
):
    folder, ids = history(plan)
    (tmp_path / "slower.yaml").write_text(PLAYBOOK)
    argv = [sys.executable, "-m", "harness.cli.main", "bisect", ids[0], ids[-1]]
    argv += [str(tmp_path / "slower.yaml"), "--tree", str(folder), "--json"]
    argv += ["--case", "fix_size_alloc_test"]  # the load sleeps 67 ms of its 67.5
    argv += ["--explain", "--reports", str(tmp_path / "reports")]
    done = subprocess.run(argv, cwd=repository_root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(done.stderr)  # noqa: T201  what it took, for docs/results/performance.md
    print(json.dumps(found["boots"]), found["effect"])  # noqa: T201
    assert [change["id"] for change in found["suspects"]] == [ids[plan.culprit]]
    assert found["changes"][plan.culprit]["probability"] > 0.95
    (skipped,) = found["skipped"].items()
    assert skipped[0] == found["changes"][plan.broken]["name"]
    assert re.search(r"build failed.*no_such_name", skipped[1])
    tried = [change for change in found["changes"] if change["tried"]]
    least, most = plan.tried
    assert least <= len(tried) <= most
    assert found["boots"]["all"] <= 2 * 3 + 3 * len(tried)
    results = json.loads((tmp_path / "reports" / "latest" / "results.json").read_text())
    names = [found["changes"][number]["name"] for number in (plan.culprit - 1, plan.culprit)]
    assert list(results["explanation"]["kernels"]) == names
    first = results["explanation"]["functions"][0]
    assert (first["function"], first["change"] > 0) == ("__vmalloc_node_range_noprof", True)
