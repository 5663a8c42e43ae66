"""What a hostile tree gets out of its build: nothing, where the build is contained."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.build.kernel import ensure_kernel
from harness.build.mail import plain_mail
from harness.build.sandbox import (
    METHODS,
    SandboxPaths,
    contained_argv,
    refusal_of,
    require_sandbox,
)
from harness.build.stack import locate_stack
from harness.build.worktree import ensure_repository
from harness.errors import InputError, KernelBuildError, ToolError
from harness.run.doctor import Environment, Health, check_sandbox
from tests.flow.fakes import RecordingRunner

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
        "-@cat /proc/[0-9]*/cmdline > commands",
        "-@echo 'int planted;' >> ../mm/slab.c",
    ]


@pytest.fixture
def neighbour(start):
    """A word on the command line of another process."""
    start(["sleep", "86397.5"])
    return b"86397.5"


def test_a_build_that_is_not_contained_takes_what_it_wants(hostile, secret, neighbour):
    objects = hostile(thief(secret)).tree / "objects"
    assert "hidden-file" in (objects / "stolen").read_text()
    assert "hidden-token" in (objects / "environment").read_text()
    assert neighbour in (objects / "commands").read_bytes()


def test_a_contained_build_sees_no_file_no_variable_no_process_and_no_network(
    hostile, secret, neighbour, kernels, cache, toy, runner
):
    built = hostile(thief(secret), sandbox="required")
    objects = built.tree / "objects"
    assert "hidden-file" not in (objects / "stolen").read_text()
    assert "hidden-token" not in (objects / "environment").read_text()
    assert neighbour not in (objects / "commands").read_bytes()
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
    runner.run(contained_argv(["sh", "-c", script], SandboxPaths((own,), (shown,)), runner))
    assert [file.name for file in own.iterdir()] == ["file"]
    assert list(shown.iterdir()) == []


def test_a_contained_program_has_no_capability_even_of_root(tmp_path, runner):
    argv = contained_argv(
        ["grep", "CapEff", "/proc/self/status"], SandboxPaths((tmp_path,)), runner
    )
    assert int(runner.run(argv, check=True).output.split()[1], 16) == 0


def test_a_contained_program_has_no_terminal_of_its_caller(tmp_path, runner, start):
    """Or it could type into it (TIOCSTI)."""
    argv = contained_argv(["cat", "/proc/self/stat"], SandboxPaths((tmp_path,)), runner)
    code = (
        "from harness.process import SubprocessRunner\n"
        f"print(SubprocessRunner().run({argv}).output)"
    )
    ours, theirs = pty.openpty()
    caller = ["setsid", "--ctty", sys.executable, "-c", code]
    said = start(caller, stdin=theirs, stdout=subprocess.PIPE, text=True).communicate()[0]
    os.close(theirs)
    os.close(ours)
    terminal = said.split()[6]
    assert terminal == "0"  # none


def test_a_contained_program_that_computes_is_not_taken_for_a_silent_one(tmp_path, runner):
    code = "import time\nwhile time.process_time() < 3: pass"
    argv = contained_argv([sys.executable, "-c", code], SandboxPaths((tmp_path,)), runner)
    done = runner.run(argv, idle_s=1)
    assert (done.timed_out, done.returncode, done.output) == (False, 0, "")


LEAKS = {
    "files of the user": ["--bind", "{cache}", "{cache}"],
    "the system to write": ["--bind", "/usr", "/usr"],
    "the network": ["--share-net"],
    "other processes": [],
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_sandbox_that_hides_too_little_is_not_used(leak, runner):
    if leak == "the system to write" and os.geteuid() != 0:
        pytest.skip("only root may write there anyway")
    bubblewrap = METHODS[0]
    cache_folder().mkdir(parents=True, exist_ok=True)
    assert refusal_of(bubblewrap, runner) == ""

    def wrap(argv, view, environment):
        words = bubblewrap.wrap(argv, view, environment)
        if leak == "other processes":
            at = words.index("--unshare-all")
            words[at : at + 1] = ["--unshare-user", "--unshare-ipc", "--unshare-net"]
        at = words.index("--")
        return [*words[:at], *(w.format(cache=cache_folder()) for w in LEAKS[leak]), *words[at:]]

    said = refusal_of(replace(bubblewrap, wrap=wrap), runner)
    assert said.startswith("it does not hide the host")


def test_without_bubblewrap_it_is_said_what_to_do(runner, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolError, match=r"bwrap: not installed .*\n  next: apt-get install bubblew"
    ):
        require_sandbox(runner)


def test_one_variable_contains_every_build(hostile, secret, monkeypatch):
    monkeypatch.setenv("VMAPBENCH_SANDBOX", "required")
    built = hostile(thief(secret))
    assert "hidden-file" not in (built.tree / "objects/stolen").read_text()
    assert built.contained


def test_a_kernel_built_before_is_read_in_the_sandbox_that_is_asked_for_now(
    toy, cache, runner, monkeypatch
):
    assert not ensure_kernel(toy(), cache, runner, lambda _: None).contained
    monkeypatch.setenv("VMAPBENCH_SANDBOX", "required")
    assert ensure_kernel(toy(), cache, runner, lambda _: None).contained


def test_a_value_of_the_variable_that_means_nothing_is_refused(toy, cache, runner, monkeypatch):
    built = ensure_kernel(toy(), cache, runner, lambda _: None)
    monkeypatch.setenv("VMAPBENCH_SANDBOX", "yes")
    with pytest.raises(InputError, match="VMAPBENCH_SANDBOX=yes: expected required or none"):
        ensure_kernel(toy(), cache, runner, lambda _: None)
    assert built.vmlinux.is_file(), "what was built goes on to be there"


def test_programs_that_read_a_hostile_tree_see_no_more_than_it(toy, cache):
    runner = RecordingRunner()
    spec = toy(name="patched", patches=("two.patch",), sandbox="required")
    built = ensure_kernel(spec, cache, runner, lambda _: None)
    # a debugger's record in an object that the tree made is read by addr2line
    objects = built.tree / "objects"
    argv = ["gcc", "-g", "-c", "-o", str(built.vmlinux), "../mm/vmalloc.c"]
    runner.run(argv, cwd=objects, check=True)
    size = runner.run(["nm", "-S", str(built.vmlinux)], check=True).output.split()[1]
    entry = f"vmalloc_value+0x5/0x{int(size, 16):x}"
    assert locate_stack([f" {entry}"], built, runner) == {entry: "mm/vmalloc.c:4"}
    assert not runner.outside("addr2line")
    assert not [argv for argv in runner.outside("git") if "apply" in argv]


def test_git_reads_patches_and_mails_of_others_in_the_sandbox(toy, cache, kernels):
    runner = RecordingRunner()
    recipe = toy(patches=("two.patch",), sandbox="required")
    repository = ensure_repository(recipe, cache, runner)
    assert "return 2" in repository.read("show", f"{repository.base}:mm/vmalloc.c")
    mail = b"From: A <a@b.c>\n" + (kernels / "two.patch").read_bytes().split(b"\n", 1)[1]
    assert b"return 2" in plain_mail(mail, runner)
    reading = {"apply", "mailinfo"}
    assert len([argv for argv in runner.ran if reading & {*argv}]) == 2
    assert not [argv for argv in runner.outside("git") if reading & {*argv}]


def test_the_machine_is_probed_once(toy, cache, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{tmp_path}")  # not probed yet by another test
    runner = RecordingRunner()
    for patches in ((), ("two.patch",)):
        spec = toy(sandbox="required", patches=patches)
        ensure_kernel(spec, cache, runner, lambda _: None)
    assert len([argv for argv in runner.ran if "echo contained" in argv[-1]]) == 1


WITHOUT_NAMESPACES = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c"]
WITHOUT_NAMESPACES.append(
    "echo 0 >/proc/sys/user/max_user_namespaces && "
    'exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- "$@"'
)
WITHOUT_NAMESPACES.append("sh")


def test_where_user_namespaces_are_not_allowed_a_build_is_refused(kernels, cache, runner):
    """A namespace in which the kernel grants no further one, and no capability."""
    if runner.run(["unshare", "--user", "true"]).returncode:
        pytest.skip("this machine allows no user namespace to try it in")
    (kernels / "toy.yaml").write_text(
        "version: 1\nsource: {tarball: toy.tar.xz}\nfragments: [base.config]\n"
    )
    argv = [sys.executable, "-m", "harness.cli.main", "--sandbox", "build", "toy"]
    argv += ["--kernels", str(kernels)]
    environment = {"VMAPBENCH_CACHE": str(cache.folder)}
    done = runner.run([*WITHOUT_NAMESPACES, *argv], env=environment)
    assert done.returncode == 3
    assert "this machine cannot contain a build: bwrap: bwrap: " in done.output
    assert "next: apt-get install bubblewrap, and allow user namespaces" in done.output
    assert not list(cache.folder.glob("kernels/*"))
    doctor = runner.run([*WITHOUT_NAMESPACES, sys.executable, "-c", DOCTOR], check=True)
    assert doctor.output.startswith("sandbox warn this machine cannot contain a build: bwrap")


DOCTOR = """\
from pathlib import Path
from harness.process import SubprocessRunner
from harness.run.doctor import Environment, check_sandbox
found = check_sandbox(Environment(SubprocessRunner(), Path(), Path()))
print(found.what, found.health, found.found)
"""


def test_the_doctor_says_what_contains_builds(runner, tmp_path):
    found = check_sandbox(Environment(runner, tmp_path, tmp_path))
    assert (found.health, found.found) == (Health.OK, "bwrap contains builds")
