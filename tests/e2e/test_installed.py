"""Without a clone: the wheel, and the tools that install it, in folders of their own."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.cli.verbs import init as init_verb

REPOSITORY = Path(__file__).parents[2]


def run(*words, cwd, env=None, expect=0, timeout=900):
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """A folder that holds the contents of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=REPOSITORY)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def vmapbench(unpacked, *words, cwd, expect=0):
    env = {"PYTHONPATH": str(unpacked)}
    return run(sys.executable, "-m", "harness.cli.main", *words, cwd=cwd, env=env, expect=expect)


def test_the_wheel_has_what_the_repository_ships(unpacked):
    for kind in init_verb.KINDS:
        top = REPOSITORY / kind
        tracked = run("git", "ls-files", "-z", kind, cwd=REPOSITORY).stdout.split("\0")[:-1]
        assert tracked
        for file in tracked:
            copy = unpacked / "harness" / "shipped" / file
            assert copy.read_bytes() == (top.parent / file).read_bytes()


def test_shipped_names_and_init_work_from_the_wheel(unpacked, tmp_path):
    where = [sys.executable, "-c", "import harness; print(harness.__file__)"]
    found = run(*where, cwd=tmp_path, env={"PYTHONPATH": str(unpacked)}).stdout
    assert found.startswith(str(unpacked))
    assert "6 boots" in vmapbench(unpacked, "check", "demo", cwd=tmp_path).stdout
    told = vmapbench(unpacked, "check", "nought", cwd=tmp_path, expect=2).stderr
    assert "shipped are demo, " in told
    mine = tmp_path / "mine"
    vmapbench(unpacked, "init", mine, "--dry-run", cwd=tmp_path)
    assert not mine.exists()
    vmapbench(unpacked, "init", mine, cwd=tmp_path)
    shipped = unpacked / "harness" / "shipped"
    assert {p.relative_to(mine) for p in mine.rglob("*")} == {
        p.relative_to(shipped) for p in shipped.rglob("*")
    }
    demo = mine / "playbooks" / "demo.yaml"
    demo.write_text(demo.read_text().replace("repeats: 3", "repeats: 4"))
    assert "8 boots" in vmapbench(unpacked, "check", "demo", cwd=mine).stdout
    (mine / "playbooks" / "smoke.yaml").unlink()
    told = vmapbench(unpacked, "init", mine, cwd=tmp_path, expect=2).stderr
    assert "playbooks/demo.yaml" in told
    assert not (mine / "playbooks" / "smoke.yaml").exists()


def pipx(folder):
    env = {"PIPX_HOME": str(folder / "home"), "PIPX_BIN_DIR": str(folder / "bin")}
    return ["pipx", "install", str(REPOSITORY)], env


def uv(folder):
    program = shutil.which("uv") or Path(sys.executable).with_name("uv")
    env = {"UV_TOOL_DIR": str(folder / "home"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    return [program, "tool", "install", "--python", sys.executable, str(REPOSITORY)], env


@pytest.mark.long
@pytest.mark.parametrize("installer", [pipx, uv])
def test_an_installed_vmapbench_runs_a_shipped_playbook(tmp_path, installer, built):
    built("single-node"), built("vmap-nodes")
    argv, env = installer(tmp_path)
    run(*argv, cwd=tmp_path, env=env)
    work = tmp_path / "work"
    work.mkdir()
    done = run(tmp_path / "bin" / "vmapbench", "run", "demo", cwd=work, timeout=1700)
    assert "faster than single-node" in done.stdout
    assert (work / "reports" / "latest" / "index.html").is_file()
