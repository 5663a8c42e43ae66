"""What a hostile tree gets out of its build: nothing, where the build is contained."""

import json
from pathlib import Path

import pytest

from harness.build.kernel import ensure_kernel
from harness.build.sandbox import View, contained_argv, contained_environment, require_sandbox
from harness.errors import KernelBuildError, ToolError

PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH] build: Make more than asked

---
--- a/build.mk
+++ b/build.mk
@@ -1,2 +1,3 @@
+all: {target}
 CC = $(CROSS_COMPILE)gcc
 objects := mm/vmalloc.o mm/slab.o lib/test_vmalloc.o
"""


@pytest.fixture
def secret(tmp_path, monkeypatch):
    """A file and a variable of the user who builds."""
    monkeypatch.setenv("API_TOKEN", "hidden-token")
    file = tmp_path / "secret"
    file.write_text("hidden-file\n")
    return file


@pytest.fixture
def hostile(kernels, toy, cache, runner):
    """Build a toy kernel whose tree runs `recipe`; returns the folder of the build."""

    def build(recipe, **changes):
        # the toy's make runs a script that the patch brings along, as a mailed patch may
        lines = "".join(f"+\t{line}\n" for line in recipe)
        text = PATCH.format(target="extra")
        text += f"--- /dev/null\n+++ b/extra.mk\n@@ -0,0 +1,{1 + len(recipe)} @@\n+extra:\n{lines}"
        text = text.replace("+all: extra\n", "+all: extra\n+include ../extra.mk\n")
        text = text.replace("@@ -1,2 +1,3 @@", "@@ -1,2 +1,4 @@")
        (kernels / "hostile.patch").write_text(text)
        spec = toy(name="hostile", patches=("hostile.patch",), **changes)
        return ensure_kernel(spec, cache, runner, lambda _: None)

    return build


def thief(secret):
    return [
        f"-@cat {secret} > stolen 2>&1",
        "-@env > environment",
        "-@cat /proc/net/dev > network",
        "-@echo 'int planted;' >> ../mm/slab.c",
    ]


def test_a_build_that_is_not_contained_takes_what_it_wants(hostile, secret):
    objects = hostile(thief(secret)).tree / "objects"
    assert "hidden-file" in (objects / "stolen").read_text()
    assert "hidden-token" in (objects / "environment").read_text()


def test_a_contained_build_sees_no_file_no_variable_and_no_network(
    hostile, secret, kernels, cache, toy, runner
):
    built = hostile(thief(secret), sandbox="required")
    objects = built.tree / "objects"
    assert "hidden-file" not in (objects / "stolen").read_text()
    assert "hidden-token" not in (objects / "environment").read_text()
    devices = (objects / "network").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]
    pristine = [file.read_text() for file in (cache.folder / "sources").glob("*/mm/slab.c")]
    assert pristine
    assert not any("planted" in text for text in pristine)
    assert built.release == "6.99.0-toy"
    # what it left is no start for another build, which would run programs that it made
    ensure_kernel(toy(), cache, runner, lambda _: None)
    bases = [
        json.loads(file.read_text()) for file in (cache.folder / "kernels").glob("*/kernel.json")
    ]
    assert [record["base"] for record in bases if not record["contained"]] == [None]


@pytest.mark.parametrize("file", [".config", "vmlinux", "include/config/kernel.release"])
def test_a_link_that_a_build_leaves_is_not_followed(hostile, secret, file):
    recipe = [f"@mkdir -p $(dir {file}) && ln -sf {secret} {file}"]
    with pytest.raises(KernelBuildError, match=rf"left {Path(file).name} as a link to"):
        hostile(recipe, sandbox="required")


def test_a_contained_program_may_write_what_it_is_given(tmp_path, runner):
    own, shown = tmp_path / "own", tmp_path / "shown"
    own.mkdir()
    shown.mkdir()
    script = f"echo made > {own}/file; echo made > {shown}/file"
    view, environment = View((own,), (shown,)), contained_environment({}, None)
    runner.run(contained_argv(["sh", "-c", script], view, environment))
    assert [file.name for file in own.iterdir()] == ["file"]
    assert list(shown.iterdir()) == []


def test_without_bubblewrap_it_is_said_what_to_do(runner, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolError, match=r"bwrap is not installed\n  next: apt-get install bubblewr"
    ):
        require_sandbox(runner)
