"""Bisections of a toy kernel tree that really builds, with generated boot values instead of boots.

The real thing, with kernels that boot, is tests/e2e/test_bisect.py.
"""

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pytest

from harness.analysis.bisection import Phase
from harness.analysis.bisection_ends import SearchBounds
from harness.build.cache import Cache
from harness.build.kernel import ensure_kernel
from harness.build.source_range import commit_range, load_series
from harness.errors import InputError, KernelBuildError
from harness.process import SubprocessRunner
from harness.report.bisection import (
    as_document,
    merge_advice,
    render_outcome,
    render_progress,
    store_result,
)
from harness.report.explanation import load_explanations
from harness.report.write import write_results
from harness.run.begin import begin_run
from harness.run.bisect import Search, bisect, prepare_ends, resume
from harness.run.bisect_plan import BisectPlan, BisectRequest, plan_bisection, stored_request
from harness.run.execute import Execution
from harness.run.noise import HostState
from harness.run.session import Session
from harness.spec.document import parse_document
from harness.spec.playbook import Playbook
from harness.store.store import open_store
from harness.targets.explanation import FILE, BootAccount, write_explanation
from harness.verdict import Verdict
from tests.flow.fakes import FakeTarget, Silent, render_fake_log

TOY = Path(__file__).parents[1] / "toy_kernel"
COMMITS, CULPRIT, BROKEN = 12, 8, 6
PLAYBOOK = """
version: 1
name: toy
kernels: [toy]
baseline: toy
target: {kind: qemu, cpus: 2}
workloads:
  - name: w
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 100}
repeats: 3
"""
PLAIN, SLOW = "return 1;", "return 1 + 1;"


def quiet_host():
    return HostState(0.0, 0.0, 0.0, 0, (), ())


def git(folder, *argv):
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    plain |= {f"GIT_{who}_DATE": "2024-11-17T00:00:00Z" for who in ("AUTHOR", "COMMITTER")}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *argv],
        check=True, capture_output=True, text=True, env={**os.environ, **plain},
    )  # fmt: skip
    return done.stdout.strip()


def make_tree(folder: Path) -> Path:
    """A git tree with COMMITS changes of mm/vmalloc.c after the first commit, tagged GOOD, BAD."""
    tree = Path(shutil.copytree(TOY, folder / "tree"))
    git(tree, "init", "-q")
    file = tree / "mm/vmalloc.c"
    for number in range(COMMITS + 1):
        text = file.read_text() + f"/* change {number} */\n"
        if number == CULPRIT:
            text = text.replace(PLAIN, SLOW)
        if number == BROKEN:
            text = "#error broken\n" + text
        if number == BROKEN + 1:
            text = text.replace("#error broken\n", "")
        file.write_text(text)
        git(tree, "add", "-A")
        git(tree, "commit", "-q", "-m", f"mm/vmalloc: Change {number}")
        if number == 0:
            git(tree, "tag", "good")
    git(tree, "tag", "bad")
    return tree


class GeneratedTarget(FakeTarget):
    """Boots nothing: a boot takes 2 s where the built source says so, else 1 s, and 4 % of noise.

    The n-th boot of a kernel takes the same time in every process. `kill_at`: the boot in which
    the whole process dies. `layout`: spread between builds, by where the code under test lies.
    """

    def __init__(self, *results, slow=1.25, kill_at=None, noise=0.04, layout=0.0):
        super().__init__(*results)
        self.slow, self.kill_at, self.noise, self.layout = slow, kill_at, noise, layout

    def boot(self, request, progress):
        if self.kill_at == len(self.requests):
            os.kill(os.getpid(), signal.SIGKILL)
        name, repeat = request.kernel.spec.name, request.folder.name
        noise = random.Random(f"{name} {repeat.rsplit('-', 1)[0]}").gauss(1.0, self.noise)
        where = re.search(
            r"^(\w+) T vmalloc_value$", request.kernel.system_map.read_text(), re.MULTILINE
        )
        version = len((request.kernel.tree / "mm/vmalloc.c").read_text())
        noise += random.Random(f"{where[1]} {version}").gauss(0.0, self.layout)
        is_slow = SLOW in (request.kernel.tree / "mm/vmalloc.c").read_text()
        result = super().boot(request, progress)
        time_ns = int(1e9 * noise * (self.slow if is_slow else 1.0))
        return replace(result, load_ns=(time_ns,))


@dataclass(frozen=True)
class Bench:
    """Everything that a bisection of the toy tree needs; kernels are built once for all tests."""

    folder: Path
    tree: Path
    request: BisectRequest
    module: bytes | None  # in place of what the toy tree builds

    @cached_property
    def cache(self) -> Cache:
        return Cache(self.tree.parent / "cache")

    @cached_property
    def plan(self) -> BisectPlan:
        return plan(self.folder, self.request, self.cache)

    def ordering(self, good, bad, **more):
        """Return a bench that bisects something else."""
        return replace(self, request=replace(self.request, good=good, bad=bad, **more))

    def build(self, name):
        """Build a change for real; the module is one with a real .modinfo."""
        spec = self.plan.spec(name)
        built = ensure_kernel(spec, self.cache, SubprocessRunner(), lambda _: None)
        if self.module is None:
            return built
        module = self.folder / "test_vmalloc.ko"
        module.write_bytes(self.module)
        return replace(built, module=module)

    def search(self, target, told=lambda _: None, run_id=None):
        """Begin a bisection, or go on with `run_id`; return its outcome."""
        store = open_store(self.folder / "store.db")
        try:
            prepared = prepare_ends(self.plan, self.build, target)
            run_id = run_id or begin_run(prepared, store, stored_request(self.plan))
            run = Execution(run_id, target, store, self.folder / run_id, Silent(), quiet_host)
            return Search(run, self.plan, self.build, told).run_to_end(prepared)
        finally:
            store.close()


def plan(folder, request, cache):
    kernels = folder / "kernels"
    kernels.mkdir(exist_ok=True)
    (kernels / "base.config").write_text("CONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_TEST_VMALLOC=m\n")
    recipe = f"version: 1\nsource: {{tree: {TOY}}}\nfragments: [base.config]\n"
    (kernels / "toy.yaml").write_text(recipe)
    playbook = parse_document(PLAYBOOK, Playbook, "toy.yaml", text=PLAYBOOK)
    session = Session(kernels, folder / "reports", Silent(), read_host=quiet_host, cache=cache)
    return plan_bisection(playbook, request, session)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return make_tree(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def bench(tmp_path, tree, module_bytes):
    return Bench(tmp_path, tree, BisectRequest("good", "bad", tree=str(tree)), module_bytes)


def test_the_culprit_is_found_past_a_commit_that_does_not_build(bench):
    said = []
    target = GeneratedTarget()
    outcome = bench.search(target, lambda o: said.append(render_progress(o)))
    (found,) = outcome.suspects
    assert found.title == f"mm/vmalloc: Change {CULPRIT}"
    assert found.id == git(bench.tree, "rev-parse", f"bad~{COMMITS - CULPRIT}")
    assert list(outcome.skipped) == [BROKEN]
    assert "build failed" in outcome.skipped[BROKEN]
    assert outcome.boots == len(target.requests)
    assert outcome.state.probabilities[CULPRIT] > 0.9
    text = render_outcome(outcome)
    assert f"{found.id}  mm/vmalloc: Change {CULPRIT}" in text
    assert "skipped: build failed" in text
    assert any("left, " in line and "each with about" in line for line in said)
    assert said[-1].startswith(f"found: most likely {found.name}, ")
    store_result(outcome, bench.folder)
    kept = bench.folder / outcome.run_id
    assert (kept / "bisection.txt").read_text() == text + "\n"
    document = as_document(outcome)
    assert json.loads((kept / "bisection.json").read_text())["suspects"] == document["suspects"]
    assert sum(change["probability"] for change in document["changes"]) == pytest.approx(1)
    assert document["boots"]["all"] == outcome.boots


def test_every_boot_is_in_the_store_and_the_run_is_one_comparison(bench):
    outcome = bench.search(GeneratedTarget())
    store = open_store(bench.folder / "store.db")
    boots = store.boots_frame(outcome.run_id)
    record = store.load_run(outcome.run_id)
    store.close()
    assert sum(boots["verdict"] == "passed") == outcome.boots
    assert set(boots[boots["verdict"] == "passed"]["kernel"]) == set(record.kernels)
    assert record.plan["bisect"]["names"] == list(bench.plan.source_range.names)
    assert record.plan["bisect"]["order"]["good"] == git(bench.tree, "rev-parse", "good")


def _be_killed(bench, at):
    bench.search(GeneratedTarget(kill_at=at))


@pytest.mark.parametrize("at", [2, 8])
def test_a_killed_bisection_goes_on_and_ends_as_if_it_had_not_been(bench, at):
    child = multiprocessing.get_context("spawn").Process(
        target=_be_killed, args=(replace(bench), at)
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    store = open_store(bench.folder / "store.db")
    (run_id,) = store.list_runs()["id"]
    kept = len(store.boots(run_id))
    store.close()
    assert kept >= at
    target = GeneratedTarget()
    outcome = bench.search(target, run_id=run_id)
    assert len(target.requests) == outcome.boots - at
    assert [change.title for change in outcome.suspects] == [f"mm/vmalloc: Change {CULPRIT}"]


def test_a_commit_that_crashes_is_skipped(bench):
    class Crashing(GeneratedTarget):
        def boot(self, request, progress):
            result = super().boot(request, progress)
            if request.kernel.spec.name.startswith(f"{CULPRIT - 1:03}-"):
                return replace(result, verdict=Verdict.CRASHED, reason="Oops: 0000")
            return result

    outcome = bench.search(Crashing())
    assert "crashed: Oops: 0000" in outcome.skipped[CULPRIT - 1]
    assert [change.title for change in outcome.suspects] == [
        f"mm/vmalloc: Change {number}" for number in (BROKEN, CULPRIT - 1, CULPRIT)
    ]
    assert "the rest cannot be tried" in render_outcome(outcome)


def test_good_that_does_not_boot_ends_it_with_its_reason(bench):
    log = "[ 1.0] WARNING: CPU: 0 PID: 1 at mm/vmalloc.c:12 f+0x1/0x2\n" + render_fake_log(2, 5)
    with pytest.raises(InputError, match=r"GOOD, 000-.*, cannot be measured: splat"):
        bench.search(GeneratedTarget(log))


def test_bad_that_does_not_build_ends_it_before_any_boot(bench):
    target = GeneratedTarget()
    with pytest.raises(KernelBuildError, match="error broken"):
        bench.ordering("good", f"bad~{COMMITS - BROKEN}").search(target)
    assert target.requests == []


def test_no_difference_is_said_and_costs_no_step(bench):
    few = bench.ordering("good", "bad", bounds=SearchBounds(most_boots=4))
    outcome = few.search(GeneratedTarget(slow=1.0))
    assert outcome.state.phase is Phase.NO_DIFFERENCE
    assert outcome.boots == 8
    text = render_outcome(outcome)
    assert "is not shown to differ" in text
    assert re.search(r"Boots scatter by \d\.\d%; 4 of each show \d+\.\d% or more", text)
    boots = as_document(outcome)["boots_to_show"]
    assert f"it would take about {boots} boots of each" in text
    assert f"next: vmapbench bisect --resume {outcome.run_id} --most-boots {boots}" in text


def test_where_the_code_of_a_build_lies_is_not_taken_for_a_change(bench):
    """Builds of the same code differ by 3 %, boots of one by 0.2 %, and no change does anything."""
    target = GeneratedTarget(slow=1.0, noise=0.002, layout=0.03)
    outcome = bench.search(target)
    assert outcome.state.phase is Phase.NO_DIFFERENCE
    text = render_outcome(outcome)
    assert re.search(r"builds of the same code by [2-4]\.\d%", text)
    good = bench.plan.source_range.names[0]
    used = {request.kernel.spec.name for request in target.requests}
    assert {f"{good}.layout{n}" for n in range(1, SearchBounds.layouts)} < used
    places = {re.search(r"^(\w+) T vmalloc_value$", r.kernel.system_map.read_text(), re.M)[1]
              for r in target.requests if r.kernel.spec.name.startswith(good)}  # fmt: skip
    assert len(places) > SearchBounds.layouts / 2, "each build has its code elsewhere"


def test_one_build_of_each_says_what_its_answer_is_worth(bench):
    once = bench.ordering("good", "bad", bounds=SearchBounds(layouts=1))
    outcome = once.search(GeneratedTarget())
    text = render_outcome(outcome)
    assert "too few builds" in text
    assert f"next: vmapbench bisect --resume {outcome.run_id} --layouts 8" in text


class ExplainingTarget(GeneratedTarget):
    """One whose extra boots leave an account."""

    explain_fragments = ()

    def boot(self, request, progress):
        result = super().boot(request, progress)
        if request.explain:
            account = BootAccount(clock="made up", spin_ns=1, locks=(), functions=())
            write_explanation(request.folder / FILE, account)
        return result


@pytest.fixture
def session_for(bench):
    """Returns a session on a target: everything is real but build cache and boots."""
    (bench.folder / "reports").mkdir()
    return lambda target: Session(
        bench.folder / "kernels", bench.folder / "reports", Silent(),
        target=lambda *_: target,
        build=lambda spec, cache, runner, progress: bench.build(spec.name),
        read_host=quiet_host, cache=bench.cache,
    )  # fmt: skip


def test_the_change_and_its_parent_are_booted_once_more_to_say_why(bench, session_for):
    target = ExplainingTarget()
    session = session_for(target)
    outcome = bisect(session, bench.plan, lambda _: None, explain=True)
    assert outcome.unexplained == ()
    names = list(bench.plan.source_range.names)[CULPRIT - 1 : CULPRIT + 1]
    assert [each.kernel.spec.name for each in target.requests if each.explain] == names
    assert len(target.requests) == outcome.boots + 2  # which are no samples
    folder = session.reports / outcome.run_id
    assert list(load_explanations(folder, bench.plan.source_range.names)) == names
    store = session.open_store()
    page = write_results(store, outcome.run_id, session.reports).page.read_text()
    store.close()
    assert 'id="explained-functions"' in page
    again = resume(session, outcome.run_id, lambda _: None, explain=True)
    assert (again.boots, again.unexplained) == (outcome.boots, ())
    assert [each.kernel.spec.name for each in target.requests if each.explain] == [*names, *names]


def test_without_a_single_change_there_is_nothing_to_explain(bench, session_for):
    few = bench.ordering("good", "bad", bounds=SearchBounds(most_boots=3)).plan
    outcome = bisect(session_for(ExplainingTarget(slow=1.0)), few, lambda _: None, explain=True)
    assert outcome.unexplained == ("nothing is explained: no single change is named",)


def test_a_target_that_cannot_explain_is_refused_before_any_boot(bench, session_for):
    target = GeneratedTarget()
    with pytest.raises(InputError, match="cannot say where its time goes"):
        bisect(session_for(target), bench.plan, lambda _: None, explain=True)
    assert target.requests == []


def test_a_session_bisects_on_its_own_target_and_goes_on_with_more_boots(bench, session_for):
    target = GeneratedTarget(slow=1.0)
    session = session_for(target)
    few = bench.ordering("good", "bad", bounds=SearchBounds(most_boots=3)).plan
    outcome = bisect(session, few, lambda _: None)
    assert (outcome.state.phase, outcome.boots) == (Phase.NO_DIFFERENCE, 6)
    target.slow = 1.25
    more = resume(session, outcome.run_id, lambda _: None, most_boots=20)
    assert [change.title for change in more.suspects] == [f"mm/vmalloc: Change {CULPRIT}"]
    assert more.boots == len(target.requests)


def as_mailbox(tree, path):
    path.write_text(git(tree, "format-patch", "--stdout", "--cover-letter", "good..bad"))
    return path


def as_folder(tree, path):
    git(tree, "format-patch", "-q", "-o", str(path), "--cover-letter", "good..bad")
    return path


def as_quilt(tree, path):
    as_folder(tree, path)
    names = sorted(p.name for p in path.glob("*.patch"))[1:]  # without the cover
    for number, name in enumerate(reversed(names)):
        (path / name).rename(path / f"{number:02}-reversed.patch")
    order = [f"{number:02}-reversed.patch" for number in reversed(range(len(names)))]
    (path / "series").write_text("# a comment\n\n" + " -p1\n".join(order) + "\n")
    return path


@pytest.mark.parametrize("form", [as_mailbox, as_folder, as_quilt])
def test_a_series_is_bisected_patch_by_patch(bench, tmp_path, form):
    series = form(bench.tree, tmp_path / "series")
    assert len(load_series(series, SubprocessRunner()).patches) == COMMITS
    bench = bench.ordering("good", str(series))
    titles = [change.title for change in bench.plan.source_range.changes[1:]]
    assert titles == [f"mm/vmalloc: Change {number}" for number in range(1, COMMITS + 1)]
    last = bench.build(bench.plan.source_range.names[-1])
    assert (last.tree / "mm/vmalloc.c").read_text() == (bench.tree / "mm/vmalloc.c").read_text()
    if form is as_mailbox:
        outcome = bench.search(GeneratedTarget())
        assert [c.title for c in outcome.suspects] == [f"mm/vmalloc: Change {CULPRIT}"]


def test_what_is_no_line_of_commits_is_refused(bench, tmp_path):
    def refused(good, bad, words, **more):
        with pytest.raises(InputError, match=words):
            assert bench.ordering(good, bad, **more).plan

    refused("nonsense", "bad", "has no commit 'nonsense'")
    refused("bad", "good", r"good is older than bad\n  next: .* vmapbench bisect good bad")
    refused("good", "good", "no commit between good and good")
    refused(str(tmp_path), "good", rf"vmapbench bisect good {tmp_path}")
    refused("--output=x", "bad", "has no commit '--output=x'")
    refused("good", "bad", "is not a git tree", tree=str(tmp_path / "nowhere"))
    refused("good", "bad", "--workload: found 'x', expected one of w", workload="x")
    refused("good", str(tmp_path / "kernels"), "found no patch")
    aside = git(bench.tree, "commit-tree", "good^{tree}", "-p", "good", "-m", "Aside")
    git(bench.tree, "branch", "side", aside)
    refused("side", "bad", "is not on the line of first parents of bad")


def test_the_advice_on_a_merge_can_be_carried_out(bench, runner, tmp_path):
    tree, cache = bench.tree, Cache(tmp_path / "cache")
    git(tree, "checkout", "-q", "-b", "topic", "good")
    for number in (1, 2):
        (tree / "mm/topic.c").write_text(f"int topic = {number};\n")
        git(tree, "add", "mm/topic.c")
        git(tree, "commit", "-q", "-m", f"Topic {number}\r\x0c\x85 x")
    git(tree, "checkout", "-q", "-b", "trunk", "good~0")
    git(tree, "commit", "-q", "--allow-empty", "-m", "Aside")
    git(tree, "merge", "-q", "--no-ff", "-m", "Merge topic", "topic")
    merge = git(tree, "rev-parse", "HEAD").strip()
    history = commit_range(bench.plan.source_range.spec(0), tree, "good", "trunk", cache, runner)
    assert [change.merge for change in history.changes] == [False, False, True]
    text = merge_advice(merge)
    start, bad = re.search(r"bisect \$\((.*)\)\^ (\S+) ", text).groups()
    first = runner.run(["sh", "-c", f"cd '{tree}' && {start}"]).output.strip()
    inside = commit_range(bench.plan.source_range.spec(0), tree, f"{first}^", bad, cache, runner)
    assert [change.title for change in inside.changes[1:]] == ["Topic 1 x", "Topic 2 x"]
