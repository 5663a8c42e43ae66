"""Comparisons in a toy kernel tree that really builds, with generated boot times."""

import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.build.cache import Cache
from harness.build.kernel import ensure_kernel
from harness.build.sides import (
    UNTRACKED_LIMIT,
    WORKING_TREE,
    find_sides,
    find_tree,
    refuse_same,
    side_kernels,
)
from harness.build.start_config import REQUIRED, read_start_config
from harness.errors import InputError, ParameterError, ToolError
from harness.process import SubprocessRunner
from harness.run.ab import Options, case_mask, choose_target, plan_ab
from harness.run.session import Session
from harness.spec.architecture import ARM64
from harness.spec.kernel import load_kernel_spec
from harness.spec.playbook import load_playbook
from harness.targets.accelerator import Kvm, KvmState
from tests.flow.fakes import FakeTarget, RecordingRunner, Silent
from tests.flow.test_bisect_toy import git, quiet_host

TOY = Path(__file__).parents[1] / "toy_kernel"
PARAMETERS = """
#define __param(type, name, init, msg) \\
	static type name = init
/*
__param(int, nr_threads, 0, "Number of workers");
__param(bool, sequential_test_order, false, "Use sequential order");
__param(int, test_loop_count, 1000000, "Set test loop counter");
__param(int, run_test_mask, 7,
	"Set tests specified in the mask.\\n\\n"
		"\\t\\tid: 1,    name: fix_size_alloc_test\\n"
		"\\t\\tid: 2,    name: full_fit_alloc_test\\n"
		/* Add a new test case description here. */
);
*/
"""


@pytest.fixture
def tree(tmp_path):
    """A toy kernel tree of two commits on a branch `main`, the first one tagged v1."""
    tree = Path(shutil.copytree(TOY, tmp_path / "linux"))
    git(tree, "init", "-q", "-b", "main")
    (tree / ".gitignore").write_text("*.o\n")
    commit(tree, "First", "v1")
    edit(tree, 2)
    commit(tree, "mm/vmalloc: Return two", "v2")
    return tree


def edit(tree, value, file="mm/vmalloc.c"):
    (tree / file).write_text(f"int vmalloc_value(void)\n{{\n\treturn {value};\n}}\n")


def commit(tree, subject, tag=None):
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", subject)
    if tag:
        git(tree, "tag", tag)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def sides(cache):
    return lambda tree, base="", change="", patches="": find_sides(
        tree, base, change, patches, cache, SubprocessRunner()
    )


def content(sides, name="mm/vmalloc.c"):
    return sides.read(name)


def snapshot(tree):
    """Everything that a comparison could write to: files with their times, the index, the refs.

    Without the times of objects: git renews that of one which it would have written.
    """
    inside = sorted(path for path in tree.rglob("*") if path.is_file() or path.is_symlink())
    stats = {path: path.lstat() for path in inside}
    return [
        (path, 0 if "objects" in path.parts else stat.st_mtime_ns, stat.st_size)
        for path, stat in stats.items()
    ]


def test_the_working_tree_is_compared_as_it_stands_and_not_written(tree, sides):
    edit(tree, 3)
    (tree / "mm/new.c").write_text("int added;\n")
    (tree / "mm/old.o").write_text("ignored")
    (tree / ".git/info/exclude").write_text("junk\n")
    (tree / "junk").write_text("ignored as well")
    (tree / "mm/slab.c").unlink()
    before = snapshot(tree)
    found = sides(tree)
    assert snapshot(tree) == before
    assert (found.base.word, found.base.title) == ("HEAD", "mm/vmalloc: Return two")
    assert found.change.word == WORKING_TREE
    assert "return 3;" in content(found)
    assert content(found, "mm/new.c") == "int added;\n"
    for name in ("mm/old.o", "junk", "mm/slab.c"):
        assert content(found, name) is None
    assert sides(tree).change.commit == found.change.commit, "the same contents are one commit"


def test_a_change_of_the_same_size_and_time_is_seen(tree, sides):
    file = tree / "mm/vmalloc.c"
    git(tree, "status")
    stamp = file.stat()
    edit(tree, 3)  # as long as before, in the tick in which the index was written
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    index = tree / ".git/index"
    os.utime(index, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert "return 3;" in content(sides(tree))


def test_staged_changes_count_as_they_stand_in_the_folder(tree, sides):
    edit(tree, 3)
    git(tree, "add", "-A")
    edit(tree, 4)
    assert "return 4;" in content(sides(tree))


@pytest.mark.parametrize("how", ["split-index", "no index", "linked worktree", "subfolder"])
def test_trees_of_every_shape(tree, sides, tmp_path, how):
    here = tree
    if how == "split-index":
        git(tree, "update-index", "--split-index")
    if how == "no index":
        (tree / ".git/index").unlink()
    if how == "linked worktree":
        git(tree, "worktree", "add", "-q", str(tmp_path / "linked"))
        here = tmp_path / "linked"
    edit(here, 3)
    found = sides(here / "mm" if how == "subfolder" else here)
    assert "return 3;" in content(found)
    changed = found.repository.read("diff", "--name-only", found.base.commit, found.change.commit)
    assert changed == "mm/vmalloc.c"


def test_a_sparse_or_shallow_clone_is_whole(tree, sides, tmp_path):
    clone = tmp_path / "clone"
    git(tree, "clone", "-q", "--depth=1", f"file://{tree}", str(clone))
    git(clone, "sparse-checkout", "set", "mm")
    assert not (clone / "lib").exists()
    edit(clone, 3)
    found = sides(clone)
    assert "return 3;" in content(found)
    assert content(found, "lib/test_vmalloc.c") is not None
    with pytest.raises(InputError, match=r"no commit 'HEAD~1'\n  next: it is a shallow clone"):
        sides(clone, "HEAD~1", "HEAD")


def test_a_rebase_that_waits_is_fine_and_a_conflict_is_refused(tree, sides):
    git(tree, "checkout", "-q", "-b", "side", "v1")
    edit(tree, 5)
    commit(tree, "Another way")
    stopped = subprocess.run(
        ["git", "-C", tree, "rebase", "-q", "main"], check=False, capture_output=True
    )
    assert stopped.returncode
    with pytest.raises(InputError, match=r"mm/vmalloc.c has unresolved conflicts"):
        sides(tree)
    edit(tree, 5)
    git(tree, "add", "-A")
    assert "return 5;" in content(sides(tree))


@pytest.mark.parametrize(
    ("words", "base", "change"),
    [
        (("v1", "v2"), "v1", "v2"),
        (("HEAD~1", "HEAD"), "v1", "v2"),
        (("v1..main",), "v1", "v2"),
        (("v1..",), "v1", "v2"),
        (("side...v2",), "v1", "v2"),
    ],
)
def test_commits_are_named_as_git_names_them(tree, sides, words, base, change):
    git(tree, "branch", "side", "v1")
    found = sides(tree, *words)
    ids = [git(tree, "rev-parse", tag) for tag in (base, change)]
    assert [found.base.commit, found.change.commit] == ids


def test_a_base_alone_is_held_against_the_working_tree(tree, sides):
    edit(tree, 3)
    found = sides(tree, "v1")
    assert found.base.commit == git(tree, "rev-parse", "v1")
    assert "return 3;" in content(found)


def test_a_series_is_applied_to_its_base(tree, sides, tmp_path, monkeypatch):
    mail = git(tree, "format-patch", "--stdout", "--base=v1", "v1..v2") + "\n"
    (tmp_path / "series.mbox").write_text(mail)
    git(tree, "format-patch", "-q", "-o", str(tmp_path / "folder"), "v1..v2")
    edit(tree, 9)  # says nothing: the series has a base
    by_mail = sides(tree, patches=str(tmp_path / "series.mbox"))
    assert by_mail.base.commit == git(tree, "rev-parse", "v1")
    assert (by_mail.change.word, by_mail.change.title) == ("series.mbox", "mm/vmalloc: Return two")
    assert "return 2;" in content(by_mail)
    assert sides(tree, "v1", patches=str(tmp_path / "folder")).change.word == "folder"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(mail.encode())))
    by_pipe = sides(tree, "v1", patches="-")
    assert (by_pipe.change.commit, by_pipe.change.word) == (by_mail.change.commit, "standard input")
    for text, fault in ((b"", "expected one series"), (b"garbage\n", "is not a mailbox")):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
        with pytest.raises(InputError, match=f"^standard input:? {fault}"):
            sides(tree, patches="-")
    with pytest.raises(InputError, match="does not apply"):
        sides(tree, "v2", patches=str(tmp_path / "series.mbox"))


def test_a_series_is_applied_in_the_sandbox_that_every_build_is_to_have(
    tree, cache, tmp_path, monkeypatch
):
    mail = git(tree, "format-patch", "--stdout", "v1..v2") + "\n"
    (tmp_path / "series.mbox").write_text(mail)
    monkeypatch.setenv("VMAPBENCH_SANDBOX", "required")
    runner = RecordingRunner()
    found = find_sides(tree, "v1", "", str(tmp_path / "series.mbox"), cache, runner)
    assert "return 2;" in content(found)
    applying = [argv for argv in runner.ran if "am" in argv]
    assert [argv[0] for argv in applying] != ["git"]


def test_what_cannot_be_compared_is_refused_with_the_next_step(tree, sides, tmp_path):
    def refused(words, *named, where=tree, **more):
        with pytest.raises(InputError, match=words):
            sides(where, *named, **more)

    for named, words in (((), "working tree is the same as HEAD"), (("v1", "v1"), "v1 is the")):
        with pytest.raises(InputError, match=f"^{words}.*there is nothing to compare\n  next: "):
            refuse_same(sides(tree, *named))
    refused(r"has no commit 'nonsense'\n  next: fetch what is missing", "nonsense")
    refused("has no commit '--output=x'", "--output=x")
    refused("found also 'v2'", "v1", "v2", patches="x")
    refused("is not in a git tree", where=tmp_path / "cache")
    (tmp_path / "empty.mbox").write_text("")
    empty = str(tmp_path / "empty.mbox")
    refused(r"expected one series of patches, found none\n  next: write one with", patches=empty)
    with (tree / "core").open("wb") as dump:
        dump.truncate(UNTRACKED_LIMIT + 1)
    refused("largest is core")
    (tree / "core").unlink()
    (tree / "mm/vmalloc.c").unlink()
    refused("is not a kernel tree")


def test_only_what_changed_is_built_again(tree, sides, cache, tmp_path):
    """Also where HEAD moves: the commit that was unpacked first stays the one to start from."""
    runner = SubprocessRunner()
    (tmp_path / "base.config").write_text("CONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_TEST_VMALLOC=m\n")
    compiled = []

    def built(found, name):
        recipe = plan_recipe(tree, tmp_path)
        specs = side_kernels(found, recipe, tmp_path / name, cache, runner)
        kernels = [ensure_kernel(spec, cache, runner, lambda _: None) for spec in specs]
        logs = [(kernel.folder / "build.log").read_text() for kernel in kernels]
        compiled.append([log.count("  CC      ") for log in logs])
        return kernels

    edit(tree, 3)
    _, change = built(sides(tree), "first")
    assert "return 3;" in (change.tree / "mm/vmalloc.c").read_text()
    commit(tree, "Return three")
    edit(tree, 4)
    base, change = built(sides(tree), "second")
    assert "return 3;" in (base.tree / "mm/vmalloc.c").read_text()
    assert "return 4;" in (change.tree / "mm/vmalloc.c").read_text()
    assert compiled == [[3, 1], [1, 1]]
    again = load_kernel_spec(change.spec.name, tmp_path / "second")
    assert ensure_kernel(again, cache, runner, lambda _: None).key == change.key
    assert find_tree(tree) == tree


def plan_recipe(tree, folder):
    from harness.spec.kernel import GitSource, KernelSpec

    source = GitSource(git=str(tree), ref="HEAD")
    return KernelSpec(
        version=1, name="recipe", source=source, fragments=("base.config",), folder=folder
    )


def test_the_run_is_made_of_files_that_give_the_same_again(
    tree, sides, cache, tmp_path, module_bytes
):
    edit(tree, 3)
    found = sides(tree)
    options = Options(on="qemu", threads=2, cases=("fix_size", "full_fit_alloc_test"), loops=100)
    plan = plan_ab(found, options, cache, SubprocessRunner())
    (tmp_path / "base.config").write_text("CONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_TEST_VMALLOC=m\n")
    plan = replace(plan, recipe=plan_recipe(tree, tmp_path))
    file = plan.write(tmp_path / "run")
    playbook = load_playbook(file)
    assert playbook.kernels == plan.playbook.kernels
    assert playbook.workloads[0].parameters["run_test_mask"] == 3
    target = FakeTarget()

    def build(spec, *more):
        built = ensure_kernel(spec, *more)
        (tmp_path / "test_vmalloc.ko").write_bytes(module_bytes)
        return replace(built, module=tmp_path / "test_vmalloc.ko")

    session = Session(
        file.parent / "kernels", tmp_path / "reports", Silent(),
        target=lambda *_: target, build=build, read_host=quiet_host,
    )  # fmt: skip
    (tmp_path / "reports").mkdir()
    os.environ["VMAPBENCH_CACHE"] = str(cache.folder)
    try:
        ended = session.run(file)
    finally:
        del os.environ["VMAPBENCH_CACHE"]
    assert not ended.interrupted
    assert {r.kernel.spec.name for r in target.requests} == set(playbook.kernels)
    assert {"return 2;" in (r.kernel.tree / "mm/vmalloc.c").read_text() for r in target.requests} \
        == {True, False}  # fmt: skip


def test_a_configuration_of_ones_own_goes_along(tree, sides, cache, tmp_path):
    edit(tree, 3)
    found, runner = sides(tree), SubprocessRunner()
    mine = tmp_path / "my .config"
    mine.write_text("CONFIG_HZ=1000\n")
    plan = plan_ab(found, Options(on="qemu", config=str(mine)), cache, runner)
    file = plan.write(tmp_path / "run")
    mine.unlink()
    spec = load_kernel_spec(plan.playbook.kernels[1], file.parent / "kernels")
    assert spec.config == "own.config"
    assert "CONFIG_HZ=1000" in read_start_config(spec).text
    assert spec.place(REQUIRED).is_relative_to(tmp_path / "run")
    for config, words in ((str(mine), "does not exist"), ("no_defconfig", "tree has no")):
        with pytest.raises(InputError, match=words):
            plan_ab(found, Options(on="qemu", config=config), cache, runner)


def test_cases_go_by_name_and_come_from_the_source():
    source = PARAMETERS.replace("/*\n__param", "__param").replace(");\n*/", ");")
    assert case_mask(["fix_size", "full_fit_alloc_test"], source) == 3
    with pytest.raises(InputError, match="no vrealloc; it has fix_size, full_fit$"):
        case_mask(["vrealloc"], source)
    assert case_mask(["vm_map_ram_test"], "declares nothing") == 1024


def kvm(state):
    return Kvm(state, "seen", "boot", "10", "q35")


def no_qemu():
    raise ToolError("qemu-system-x86_64 is missing")


@pytest.mark.parametrize(
    ("options", "cores", "find", "kind", "words"),
    [
        (Options(), 2, no_qemu, "simulated", "2 cores for 16 workers"),
        (Options(), 16, no_qemu, "simulated", "qemu-system-x86_64 is missing"),
        (Options(), 16, lambda: kvm(KvmState.NO_LINUX), "simulated", "Linux does not run"),
        (Options(), 16, lambda: kvm(KvmState.RUNS_LINUX), "qemu", "has 16 cores"),
        (Options(threads=2), 2, lambda: kvm(KvmState.UNTRIED), "qemu", "2 CPUs"),
        (Options(on="simulated:64"), 2, no_qemu, "simulated", "64 CPUs"),
        (Options(on="qemu"), 2, no_qemu, "qemu", "do not show contention"),
        (Options(arch=ARM64), 2, no_qemu, "qemu", "the simulated machine has no arm64"),
    ],
)
def test_the_target_is_what_this_machine_can_be_honestly(options, cores, find, kind, words):
    target, said = choose_target(options, find, cores)
    assert target.kind == kind
    assert words in said


def test_a_lab_host_is_used_as_large_as_its_file_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks/hosts").mkdir(parents=True)
    text = "version: 1\naddress: tr1.lab\nuser: me\nboot: {method: kexec}\n"
    file = tmp_path / "playbooks/hosts/tr1.yaml"
    file.write_text(text)
    assert choose_target(Options(on="tr1"), no_qemu, 2)[0].cpus == 16
    file.write_text(f"{text}topology: {{cpus: 64}}\n")
    assert choose_target(Options(on="tr1"), no_qemu, 2)[1] == "lab host tr1 with 64 CPUs"
    assert choose_target(Options(on="tr1", threads=8), no_qemu, 2)[0].cpus == 8
    with pytest.raises(InputError, match="--threads 128: lab host tr1 has 64 CPUs"):
        choose_target(Options(on="tr1", threads=128), no_qemu, 2)


@pytest.mark.parametrize("on", ["simulated:0", "simulated:x", "simulated:4096", "qemu:4", "nohost"])
def test_a_target_that_cannot_be_is_refused(on):
    with pytest.raises(InputError, match="^--on: "):
        choose_target(Options(on=on), no_qemu, 2)


def test_parameters_that_the_trees_module_lacks_are_refused(tree, sides, cache):
    source = PARAMETERS.replace("/*\n__param", "__param").replace(");\n*/", ");")
    lines = [line for line in source.splitlines(True) if "test_loop_count" not in line]
    (tree / "lib/test_vmalloc.c").write_text("".join(lines))
    with pytest.raises(ParameterError, match="test_loop_count: not a parameter of test_vmalloc"):
        plan_ab(sides(tree), Options(on="qemu"), cache, SubprocessRunner())


def test_the_verb_shows_what_it_would_do(tree, cache, tmp_path, monkeypatch, capsys):
    from harness.cli.main import command_line

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VMAPBENCH_CACHE", str(cache.folder))
    hosts = tmp_path / "playbooks/hosts"
    hosts.mkdir(parents=True)
    (hosts / "tr1.yaml").write_text(
        "version: 1\naddress: tr1.lab\nuser: me\nboot: {method: kexec}\ntopology: {cpus: 64}\n"
    )
    edit(tree, 3)
    before = snapshot(tree)
    words = ["ab", "--tree", str(tree), "--on", "tr1", "--boots", "7", "--dry-run"]
    words += ["--config", "toy_defconfig", "--detect", "3%", "--within", "1h30m"]
    assert not command_line()(words, standalone_mode=False)
    first, base, change, *boots, last = capsys.readouterr().out.splitlines()
    assert first == "on lab host tr1 with 64 CPUs"
    assert base.startswith("base: HEAD (")
    assert change.startswith("change: working tree (")
    assert sum(line.startswith("boot ") for line in boots) == 2
    assert last == "7 boots of each side, in random order"
    assert snapshot(tree) == before
    with pytest.raises(InputError, match=r"is not reported.*\n  next: .* --detect 1%$"):
        command_line()([*words, "--detect", "0.1%"], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--cases", "fix_sise"], "--cases: this tree has no fix_sise; it has "),
        (["--on", "kvn"], "--on: kvn is neither"),
        (["--on", "simulated:0"], "--on: found 'simulated:0'"),
        (["--config", "no_defconfig"], "--config: the tree has no "),
        (["--config", "no/such/file"], f"config: {Path('no/such/file').resolve()} does not exist"),
        (["--detect", "0.1%"], "--detect: a change of 0.10% is not reported"),
        ([], "working tree is the same as HEAD"),
    ],
)
def test_a_fault_in_the_options_is_said_before_that_nothing_has_changed(
    tree, cache, monkeypatch, words, fault
):
    from harness.cli.main import command_line

    monkeypatch.setenv("VMAPBENCH_CACHE", str(cache.folder))
    with pytest.raises(InputError, match=f"^{re.escape(fault)}"):
        command_line()(
            ["ab", "--tree", str(tree), "--on", "qemu", *words, "--dry-run"], standalone_mode=False
        )
