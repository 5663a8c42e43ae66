"""git on repositories that mean harm, lie oddly or hang, in a caller's odd environment."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.build import git
from harness.build.git import open_commit, repository_place, run_outside
from harness.build.patch_folder import load_patches
from harness.build.source import ensure_source, pin_source
from harness.build.worktree import apply_series
from harness.errors import InputError
from harness.spec.kernel import GitSource, TreeSource

LOCAL = subprocess.run(
    ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True
).stdout.split()
OTHERS = ["GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_TRACE"]


def run(folder, *words):
    who = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=e@example.org",
        "-c",
        "protocol.file.allow=always",
    ]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def linux(toy_tree):
    """A repository with the toy kernel as v1, and a branch `topic` one commit further."""
    run(toy_tree, "init", "-q", "-b", "main")
    run(toy_tree, "add", ".")
    run(toy_tree, "commit", "-qm", "Linux")
    run(toy_tree, "tag", "v1")
    run(toy_tree, "checkout", "-qb", "topic")
    (toy_tree / "mm/topic.c").write_text("int topic;\n")
    run(toy_tree, "add", ".")
    run(toy_tree, "commit", "-qm", "mm: Topic")
    run(toy_tree, "checkout", "-q", "main")
    return toy_tree


def state(folder):
    """Everything below a folder, as bytes."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", [*LOCAL, *OTHERS])
def test_no_variable_of_a_caller_reaches_git(
    linux, tmp_path, cache, runner, monkeypatch, toy, name
):
    victim = tmp_path / "victim"
    run(tmp_path, "clone", "-q", str(linux), str(victim))
    run(linux, "format-patch", "-q", "-o", str(tmp_path / "queue"), "main..topic")
    before = state(victim)
    values = {
        "GIT_DIR": f"{victim}/.git",
        "GIT_COMMON_DIR": f"{victim}/.git",
        "GIT_WORK_TREE": str(victim),
        "GIT_INDEX_FILE": f"{victim}/.git/index",
        "GIT_OBJECT_DIRECTORY": f"{victim}/.git/objects",
        "GIT_CONFIG_PARAMETERS": "'core.bare'='maybe'",
        "GIT_CONFIG_COUNT": "many",
        "GIT_EXTERNAL_DIFF": f"touch {victim}/told",
        "GIT_TRACE": f"{victim}/told",
    }
    monkeypatch.setenv(name, values.get(name, f"{victim}/.git"))
    ours = open_commit(str(linux), "v1", cache, runner)
    (commit,) = apply_series(ours, ours.base, load_patches(tmp_path / "queue", runner))
    assert "mm/topic.c" in ours.read("ls-tree", "-r", "--name-only", commit)
    source = pin_source(toy(source=TreeSource(tree=str(linux))), cache, runner)
    assert (ensure_source(source, cache, lambda _: None) / "mm/vmalloc.c").is_file()
    assert state(victim) == before


def test_no_program_that_a_repository_names_is_run(linux, tmp_path, cache, runner, toy):
    told = tmp_path / "told"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {told}\n")
    script.chmod(0o755)
    names = ["core.fsmonitor", "core.sshCommand", "diff.external", "core.pager", "filter.f.smudge"]
    for key in [*names, "filter.f.clean", "filter.f.process", "uploadpack.packObjectsHook"]:
        run(linux, "config", key, str(script))
    (linux / ".git/info/attributes").write_text("* filter=f diff=f\n")
    for source in (TreeSource(tree=str(linux)), GitSource(git=str(linux), ref="topic")):
        pinned = pin_source(toy(source=source), cache, runner)
        assert (ensure_source(pinned, cache, lambda _: None) / "mm/vmalloc.c").is_file()
    ours = open_commit(str(linux), "topic", cache, runner)
    ours.read("diff-tree", "-p", "HEAD" if ours.commit("HEAD") else ours.base)
    assert not told.exists()


@pytest.mark.parametrize(
    "place", ["ext::sh -c touch% {told}", "fd::0", "helper::x", "ftp://127.0.0.1:9/x"]
)
def test_no_remote_helper_is_run(tmp_path, cache, runner, place):
    told = tmp_path / "told"
    with pytest.raises(InputError, match="not allowed"):
        open_commit(place.format(told=told), "main", cache, runner)
    assert not told.exists()


@pytest.fixture
def silent_port():
    """The port of a server that takes connections and says nothing, and gives up after 20 s."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept():
            while True:
                try:
                    kept.append(server.accept())
                except OSError:
                    return

        def give_up():
            for connection, _ in kept:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        timer = threading.Timer(20, give_up)
        timer.start()
        yield server.getsockname()[1]
        timer.cancel()
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection, _ in kept:
        connection.close()


@pytest.mark.parametrize("scheme", ["git", "ssh", "http"])
def test_a_silent_server_is_left(silent_port, cache, runner, monkeypatch, scheme):
    monkeypatch.setattr(git, "SILENCE_S", 0.5)
    with pytest.raises(InputError, match=r"fetching main of .*silence"):
        open_commit(f"{scheme}://127.0.0.1:{silent_port}/linux", "main", cache, runner)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to somebody else")
def test_the_users_safe_directories_count(linux, cache, runner, monkeypatch, tmp_path):
    for path in (linux, linux / ".git"):
        os.chown(path, 12345, 12345)
    with pytest.raises(InputError, match=r"dubious ownership.*safe\.directory"):
        open_commit(str(linux), "v1", cache, runner)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {linux}\n")
    assert open_commit(str(linux), "v1", cache, runner).base == run(linux, "rev-parse", "v1")


def test_a_branch_comes_before_a_tag_of_its_name(linux, cache, runner):
    run(linux, "tag", "topic", "v1")
    run(linux, "update-ref", "refs/heads/v1", run(linux, "rev-parse", "refs/heads/topic"))
    topic, main = (run(linux, "rev-parse", f"refs/heads/{name}") for name in ("topic", "main"))
    # By a path and, since file: is a path as well, by the server of git itself.
    assert open_commit(str(linux), "topic", cache, runner, branch=True).base == topic
    assert open_commit(str(linux), "topic", cache, runner).base == main
    assert open_commit(str(linux), "topic~1", cache, runner, branch=True).base == main


@pytest.mark.parametrize("kind", ["depth", "partial", "worktree", "bare", "blanks"])
def test_clones_of_every_kind_are_sources(linux, tmp_path, cache, runner, toy, kind):
    run(linux, "config", "uploadpack.allowFilter", "true")
    run(linux, "config", "uploadpack.allowAnySHA1InWant", "true")
    place = tmp_path / ("a b: c" if kind == "blanks" else "clone")
    words = {
        "depth": ["clone", "--depth=1", "-b", "topic", f"file://{linux}", str(place)],
        "partial": ["clone", "--filter=blob:none", "-nbtopic", f"file://{linux}", str(place)],
        "worktree": ["worktree", "add", "-q", str(place), "topic"],
        "bare": ["clone", "-q", "--bare", str(linux), str(place)],
        "blanks": ["clone", "-q", "-b", "topic", str(linux), str(place)],
    }
    run(linux, *words[kind])
    before = state(place)
    ours = open_commit(str(place), "topic", cache, runner, branch=True)
    assert ours.base == run(linux, "rev-parse", "topic")
    assert ours.read("rev-list", "--count", ours.base) == ("1" if kind == "depth" else "2")
    (tmp_path / "out").mkdir()
    ours.check_out(ours.base, tmp_path / "out")
    assert (tmp_path / "out/mm/topic.c").read_text() == "int topic;\n"
    pinned = pin_source(toy(source=GitSource(git=str(place), ref="topic")), cache, runner)
    assert (ensure_source(pinned, cache, lambda _: None) / "mm/topic.c").is_file()
    assert state(place) == before


def test_files_come_out_byte_for_byte(linux, tmp_path, cache, runner):
    (linux / "crlf.c").write_bytes(b"int x;\r\n")
    (linux / "sub.c").write_bytes(b"$Format:%H$ $Id$\n")
    (linux / "run.sh").write_bytes(b"#!/bin/sh\n")
    (linux / "run.sh").chmod(0o755)
    (linux / "link").symlink_to("run.sh")
    (linux / "wide.c").write_bytes(b"int w;\n")
    run(linux, "add", ".")
    (linux / ".gitattributes").write_text(
        "*.c text eol=crlf\nsub.c ident\nwide.c working-tree-encoding=UTF-16LE\n"
    )
    run(linux, "add", ".gitattributes")
    run(linux, "commit", "-qm", "odd")
    (tmp_path / "out").mkdir()
    ours = open_commit(str(linux), "main", cache, runner)
    ours.check_out(ours.base, tmp_path / "out")
    assert (tmp_path / "out/crlf.c").read_bytes() == b"int x;\r\n"
    assert (tmp_path / "out/sub.c").read_bytes() == b"$Format:%H$ $Id$\n"
    assert (tmp_path / "out/wide.c").read_bytes() == b"int w;\n"
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "out/link").readlink() == Path("run.sh")


def test_what_is_no_repository_is_named(tmp_path, linux, cache, runner):
    with pytest.raises(InputError, match=r"/none does not exist"):
        open_commit(str(tmp_path / "none"), "main", cache, runner)
    inside = linux / "mm"
    with pytest.raises(InputError, match="mm is not a git repository"):  # and not the one around it
        open_commit(str(inside), "main", cache, runner)
    with pytest.raises(InputError, match="has no commit 'none'"):
        open_commit(str(linux), "none", cache, runner)


def test_a_patch_goes_to_the_folder_in_any_path(linux, tmp_path, runner):
    place = linux / "a b:c"  # in a repository, in a path that no list of git's can hold
    place.mkdir()
    (place / "x").write_text("1\n")
    (tmp_path / "p").write_text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n")
    assert run_outside(runner, ["apply", str(tmp_path / "p")], place).returncode == 0
    assert (place / "x").read_text() == "2\n"


def test_paths_and_urls_are_told_apart(tmp_path):
    (tmp_path / "odd:name").mkdir()
    assert repository_place(tmp_path, "odd:name") == f"{tmp_path}/odd:name"
    assert repository_place(tmp_path, "../x") == f"{tmp_path.parent}/x"
    assert repository_place(tmp_path, "file:///srv/a%20b") == "/srv/a b"
    for url in ("https://a.example/x", "git@a.example:x", "host:x", "ext::sh"):
        assert repository_place(tmp_path, url) == url


@pytest.fixture
def server(linux, start):
    """The address of the toy kernel's repository at a git daemon on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    where = ["--listen=127.0.0.1", f"--port={port}", f"--base-path={linux.parent}", "--reuseaddr"]
    start(["git", "daemon", "--export-all", *where], stderr=subprocess.DEVNULL)
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return f"git://127.0.0.1:{port}/{linux.name}"
        time.sleep(0.02)


def test_of_a_server_branches_commits_and_ids_are_fetched(linux, server, cache, runner, toy):
    run(linux, "tag", "topic", "v1")
    topic, main = (run(linux, "rev-parse", f"refs/heads/{name}") for name in ("topic", "main"))
    ours = open_commit(server, "topic", cache, runner, branch=True)
    assert ours.base == topic
    assert [commit.subject for commit in ours.commits(main, topic)] == ["mm: Topic"]
    assert open_commit(server, "topic", cache, runner).base == main  # the tag, as git has it
    assert open_commit(server, topic[:10], cache, runner).base == topic
    assert open_commit(server, main, cache, runner).base == main
    alone = open_commit(server, "topic", cache, runner, branch=True, alone=True)
    assert (alone.base, alone.read("rev-list", "--count", topic)) == (topic, "1")
    pinned = pin_source(toy(source=GitSource(git=server, ref="main")), cache, runner)
    assert (ensure_source(pinned, cache, lambda _: None) / "mm/vmalloc.c").is_file()
    with pytest.raises(InputError, match=r"fetching none of git://.*couldn't find remote ref"):
        open_commit(server, "none", cache, runner, branch=True)


def test_what_a_partial_clone_lacks_comes_from_its_server(linux, server, tmp_path, cache, runner):
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        run(linux, "config", key, "true")
    run(tmp_path, "clone", "-q", "--filter=blob:none", "-nbtopic", server, "partial")
    ours = open_commit(str(tmp_path / "partial"), "topic", cache, runner, branch=True)
    (tmp_path / "out").mkdir()
    ours.check_out(ours.base, tmp_path / "out")
    assert (tmp_path / "out/mm/topic.c").read_text() == "int topic;\n"
