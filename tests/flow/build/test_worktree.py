"""Series applied by a real git to a real tree, and mails that try to get out of it."""

import subprocess

import pytest

from harness.build.kernel import ensure_kernel
from harness.build.patch_folder import load_patches
from harness.build.series import Patch, PatchSeries
from harness.build.worktree import apply_series, ensure_repository, kernel_at, write_kernel
from harness.errors import InputError
from harness.spec.kernel import GitSource, load_kernel_spec
from harness.spec.nightly import SAFE_PATHS

HEAD = (
    "From 0 Mon Sep 17 00:00:00 2001\nFrom: A <a@b.c>\nDate: Tue, 02 Jan 2024 19:46:33 +0100\n"
    "Subject: [PATCH] x\n\n---\n"
)


def diff(path="mm/vmalloc.c", old="return 1", new="return 2"):
    return (
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -2,4 +2,4 @@\n"
        f" int vmalloc_value(void)\n {{\n-\t{old};\n+\t{new};\n }}\n"
    )


def new_file(path, mode="100644", text="evil"):
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
        f"@@ -0,0 +1 @@\n+{text}\n\\ No newline at end of file\n"
    )


def series(*diffs):
    patches = [Patch(str(n), f"title {n}", (HEAD + text).encode()) for n, text in enumerate(diffs)]
    return PatchSeries("key", "made for a test", "A <a@b.c>", tuple(patches))


@pytest.fixture
def repository(toy, cache, runner):
    return ensure_repository(toy(), cache, runner)


def content(repository, commit, path):
    return repository.read("show", f"{commit}:{path}")


def test_a_tarball_becomes_a_repository_once(repository, toy, cache, runner):
    assert "return 1" in content(repository, repository.base, "mm/vmalloc.c")
    before = repository.folder.stat().st_mtime_ns
    again = ensure_repository(toy(), cache, runner)
    assert (again.base, again.folder.stat().st_mtime_ns) == (repository.base, before)


def test_the_recipes_own_patches_are_in_the_base(toy, cache, runner):
    repository = ensure_repository(toy(patches=("two.patch",)), cache, runner)
    assert "return 2" in content(repository, repository.base, "mm/vmalloc.c")


def test_of_a_patch_in_several_forms_the_one_that_fits_is_in_the_base(toy, kernels, cache, runner):
    folder, text = kernels / "several", (kernels / "two.patch").read_text()
    folder.mkdir()
    (folder / "1-for-another.patch").write_text(text.replace("return 1", "return 7"))
    with pytest.raises(InputError, match=r"applying several to toy's source: 1-for-another.patch"):
        ensure_repository(toy(patches=("several",)), cache, runner)
    (folder / "2-for-this.patch").write_text(text)
    repository = ensure_repository(toy(patches=("several",)), cache, runner)
    assert "return 2" in content(repository, repository.base, "mm/vmalloc.c")


def test_each_patch_is_a_commit_and_nothing_else_is_left(repository):
    both = series(diff(), diff(old="return 2", new="return 3"))
    commits = apply_series(repository, repository.base, both)
    for commit, value in zip(commits, (2, 3), strict=True):
        assert f"return {value}" in content(repository, commit, "mm/vmalloc.c")
    assert apply_series(repository, repository.base, both) == commits
    assert repository.read("worktree", "list").count("\n") == 0


def test_a_patch_that_does_not_apply_is_named_with_file_and_hunk(repository):
    stale = series(diff(), diff(old="return 7"))
    with pytest.raises(
        InputError, match=r"patch 1 \('title 1'\).* mm/vmalloc\.c: the hunk at line 2"
    ):
        apply_series(repository, repository.base, stale)


HOSTILE = {
    "above": new_file("../evil"),
    "deep above": new_file("mm/../../../evil"),
    "absolute": new_file("/tmp/vmapbench-evil"),
    "hook": new_file(".git/hooks/post-applypatch", "100755", "#!/bin/sh"),
    "the worktree's pointer": new_file(".git"),
    "a link": new_file("mm/link", "120000", "/tmp"),
    "a submodule": new_file("mm/sub", "160000", "Subproject commit " + "1" * 40),
    "through a link": new_file("mm/link", "120000", "/tmp") + new_file("mm/link/evil"),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_outside_the_worktree_is_written(repository, tmp_path, monkeypatch, text):
    scratch = tmp_path / "scratch" / "deep"
    scratch.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    before = sorted(tmp_path.rglob("*evil*")) + sorted(repository.folder.rglob("hooks/*"))
    with pytest.raises(InputError):
        apply_series(repository, repository.base, series(text))
    with pytest.raises(InputError):  # over two patches, too
        apply_series(repository, repository.base, series(new_file("mm/fine"), text))
    after = sorted(tmp_path.rglob("*evil*")) + sorted(repository.folder.rglob("hooks/*"))
    assert before == after == []
    assert [path.name for path in scratch.rglob("*") if path.is_file()] == ["lock"]


def test_only_the_paths_that_are_allowed_may_change(repository):
    gone = removal(repository, "Makefile")
    with pytest.raises(InputError, match=r"changes Makefile, and only mm/\*\.c"):
        apply_series(repository, repository.base, series(gone), ("mm/*.c",))
    with pytest.raises(InputError, match=r"changes Makefile, and a build may run it"):
        apply_series(repository, repository.base, series(gone), ("**",))
    assert apply_series(repository, repository.base, series(gone))
    assert apply_series(repository, repository.base, series(diff()), ("mm/*.c",))


@pytest.mark.parametrize("name", ["Documentation/Kconfig", "mm/deep/Makefile", "mm/Kconfig.debug"])
def test_what_a_build_runs_may_not_change_by_mail(repository, name):
    with pytest.raises(InputError, match=f"changes {name}, and "):
        apply_series(repository, repository.base, series(new_file(name)), SAFE_PATHS)
    assert apply_series(repository, repository.base, series(new_file(name)), (name,))


def test_an_executable_file_does_not_come_by_mail(repository):
    text = new_file("mm/slow.c", mode="100755")
    with pytest.raises(InputError, match=r"changes mm/slow\.c, and it is executable"):
        apply_series(repository, repository.base, series(text), SAFE_PATHS)


@pytest.mark.parametrize("change", ["removed", "made plain", "edited"])
def test_an_executable_file_of_the_tree_is_left_alone(repository, change):
    run = new_file("mm/tool.c", mode="100755", text="#!/bin/sh")
    tip = apply_series(repository, repository.base, series(run))[-1]
    body = "@@ -1 +{} @@\n-#!/bin/sh\n\\ No newline at end of file\n"
    head = "diff --git a/mm/tool.c b/mm/tool.c\n"
    text = {
        "removed": f"{head}deleted file mode 100755\n--- a/mm/tool.c\n+++ /dev/null\n"
        + body.format("0,0"),
        "made plain": f"{head}old mode 100755\nnew mode 100644\n",
        "edited": f"{head}--- a/mm/tool.c\n+++ b/mm/tool.c\n" + body.format("1") + "+touch ran\n",
    }[change]
    with pytest.raises(InputError, match=r"changes mm/tool\.c, and it is executable"):
        apply_series(repository, tip, series(text), SAFE_PATHS)
    assert apply_series(repository, tip, series(text))


def removal(repository, path):
    lines = content(repository, repository.base, path).splitlines()
    body = "".join(f"-{line}\n" for line in lines)
    head = f"diff --git a/{path} b/{path}\ndeleted file mode 100644\n"
    return f"{head}--- a/{path}\n+++ /dev/null\n@@ -1,{len(lines)} +0,0 @@\n{body}"


def test_no_hook_and_no_attribute_of_anyone_takes_effect(repository, tmp_path, monkeypatch):
    told = tmp_path / "told"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for place in (hooks, repository.folder / "hooks"):
        place.mkdir(exist_ok=True)
        for name in ("applypatch-msg", "pre-applypatch", "post-applypatch", "post-checkout"):
            (place / name).write_text(f"#!/bin/sh\ntouch {told}\n")
            (place / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    config = f"[core]\n\thooksPath = {hooks}\n"
    config += f'[filter "f"]\n\tsmudge = touch {told}\n\tclean = touch {told}\n'
    (home / ".gitconfig").write_text(config)
    monkeypatch.setenv("HOME", str(home))
    attributes = new_file(".gitattributes", text="* filter=f").replace(
        "\\ No newline at end of file\n", ""
    )
    apply_series(repository, repository.base, series(attributes, diff()))
    assert not told.exists()


def test_a_commit_becomes_a_kernel_that_starts_from_the_recipes(toy, cache, runner, tmp_path):
    recipe = toy()
    repository = ensure_repository(recipe, cache, runner)
    (commit,) = apply_series(repository, repository.base, series(diff()))
    spec = kernel_at(recipe, repository, commit, "candidate", tmp_path / "ours")
    write_kernel(spec)
    assert load_kernel_spec("candidate", tmp_path / "ours").patches == spec.patches
    base = ensure_kernel(recipe, cache, runner, lambda _: None)
    built = ensure_kernel(spec, cache, runner, lambda _: None)
    assert built.key != base.key
    assert "return 2" in (built.tree / "mm/vmalloc.c").read_text()
    assert len(list(cache.place("sources", "x").parent.iterdir())) == 1
    same = kernel_at(recipe, repository, repository.base, "same", tmp_path / "ours")
    assert ensure_kernel(same, cache, runner, lambda _: None).key == base.key


@pytest.fixture
def clone(toy_tree):
    """A user's git tree of the toy kernel, with two commits."""

    def git(*words):
        identity = ["-c", "user.name=u", "-c", "user.email=u@x"]
        subprocess.run(["git", "-C", str(toy_tree), *identity, *words], check=True)

    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "first")
    git("tag", "v1")
    (toy_tree / "mm/vmalloc.c").write_text("int vmalloc_value(void)\n{\n\treturn 9;\n}\n")
    git("commit", "-qam", "second")
    return toy_tree


def test_a_users_repository_is_read_and_not_written(toy, cache, runner, clone):
    def files():
        return {p: p.stat().st_mtime_ns for p in clone.rglob("*") if p.is_file()}

    before = files()
    recipe = toy(source=GitSource(git=str(clone), ref="v1"))
    repository = ensure_repository(recipe, cache, runner)
    (commit,) = apply_series(repository, repository.base, series(diff()))
    assert "return 2" in content(repository, commit, "mm/vmalloc.c")
    assert files() == before
    for ref in ("no-such-ref", "--upload-pack=touch evil"):
        with pytest.raises(InputError, match="has no commit"):
            ensure_repository(
                toy(source=GitSource.model_construct(git=str(clone), ref=ref)), cache, runner
            )


def test_a_url_is_fetched(toy, cache, runner, clone):
    recipe = toy(source=GitSource(git=f"file://{clone}", ref="main"))
    repository = ensure_repository(recipe, cache, runner)
    assert "return 9" in content(repository, repository.base, "mm/vmalloc.c")


def test_a_quilt_folder_is_applied(repository, tmp_path):
    folder = tmp_path / "quilt"
    folder.mkdir()
    (folder / "bare.diff").write_text(diff())
    second = diff(old="return 2", new="return 3").partition("\n")[2]  # without diff --git
    second = second.replace("a/mm", "mm").replace("b/mm", "mm")
    (folder / "second.patch").write_text("Some words.\n\n" + second)
    (folder / "series").write_text("bare.diff\nsecond.patch -p0\n")
    commits = apply_series(repository, repository.base, load_patches(folder, repository.runner))
    assert "return 3" in content(repository, commits[-1], "mm/vmalloc.c")
