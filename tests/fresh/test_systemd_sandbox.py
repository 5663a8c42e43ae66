"""The sandbox of systemd-run under a real systemd, the first process of a namespace of its own.

The system is a folder as the installer leaves it; kernel, CPUs and disk are this machine's, the
network is none. What is run in it by nsenter sees the same paths as this process does.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.build.sandbox import METHODS, SandboxPaths, refusal_of
from harness.process import SubprocessRunner
from tests.fresh.system import make_system

# $1: root of the system; the others: folders that it shows at the same place.
_BOOT = """
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,ro,bind "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
for folder; do mkdir -p "$root$folder"; mount --bind "$folder" "$root$folder"; done
exec chroot "$root" env -i container=other PATH=/usr/sbin:/usr/bin \\
    /lib/systemd/systemd --unit=bus.target
"""
_TARGET = "[Unit]\nDefaultDependencies=no\nWants=dbus.socket\nAfter=dbus.socket\n"
_NAMESPACES = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
_SYSTEMD = next(method for method in METHODS if method.program == "systemd-run")


class InSystem(SubprocessRunner):
    """Runs programs in the system whose first process is `pid`."""

    def __init__(self, pid):
        self.enter = ["nsenter", "-t", str(pid), "--all", "--root", "--wdns=/", "--"]

    def run(self, argv, **options):
        return super().run([*self.enter, *argv], **options)

    def units(self):
        """How many units of ours there are."""
        words = ["systemctl", "list-units", "--all", "--no-legend", "vmapbench-build-*"]
        return len(self.run(words).output.split())


@pytest.fixture(scope="module", params=["bookworm", "trixie"], ids=["Debian-12", "Debian-13"])
def booted(request, tmp_path_factory):
    """A release with systemd as its first process; (name, runner, a folder that it shows)."""
    root = tmp_path_factory.mktemp(request.param) / "root"
    shown = tmp_path_factory.mktemp("shown")
    make_system(root, request.param, "dbus")
    (root / "etc/systemd/system/bus.target").write_text(_TARGET)
    folders = dict.fromkeys([str(shown), sys.prefix, sys.base_prefix])
    outside = [folder for folder in folders if not folder.startswith("/usr")]
    argv = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", "-euc", _BOOT, "sh"]
    machine = subprocess.Popen([*argv, str(root), *outside], stdin=subprocess.DEVNULL)
    try:
        yield request.param, InSystem(_first_process(machine)), shown
    finally:
        machine.kill()
        machine.wait()


def _first_process(machine):
    """Return the pid of the system's first process when its bus answers."""
    children = Path(f"/proc/{machine.pid}/task/{machine.pid}/children")
    while machine.poll() is None:
        for pid in children.read_text().split():
            asked = InSystem(pid).run(["systemctl", "is-active", "dbus.socket"])
            if asked.output.strip() == "active":
                return pid
        time.sleep(0.2)
    raise AssertionError(f"systemd ended with {machine.returncode}")


@pytest.fixture
def system(booted, monkeypatch):
    """The runner and the folder of a system whose systemd can contain builds."""
    release, runner, shown = booted
    if release == "bookworm":
        pytest.skip("systemd 252 has no PrivatePIDs=; that it is refused is another test")
    monkeypatch.setenv("VMAPBENCH_CACHE", str(shown))
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    return runner, shown


def test_what_a_probe_shows_is_believed(booted, monkeypatch):
    release, runner, shown = booted
    monkeypatch.setenv("VMAPBENCH_CACHE", str(shown))
    expected = {"bookworm": "Unknown assignment: PrivatePIDs=yes", "trixie": ""}
    assert refusal_of(_SYSTEMD, runner) == expected[release]


def test_a_program_sees_and_writes_what_it_is_given(system, monkeypatch):
    runner, shown = system
    monkeypatch.setenv("API_TOKEN", "hidden-token")
    own, read, given = shown / "own", shown / "read", shown / "given"
    for folder in (own, read):
        folder.mkdir()
    given.write_text("the input\n")
    (shown / "secret").write_text("hidden-file\n")
    script = (
        f"cat; cat {shown}/secret; env; cat /proc/net/dev; ls /proc | grep -c '^[0-9]'; "
        f'echo made >{own}/file; echo made >{read}/file; echo "$1 pid $$"; exit 7'
    )
    argv = ["sh", "-c", script, "sh", "a $word"]
    done = runner.run(
        _SYSTEMD.wrap(argv, SandboxPaths((own,), (read,)), {"PATH": "/bin"}), stdin=given
    )
    assert done.returncode == 7
    assert done.output.startswith("the input\n")
    assert "a $word pid 1\n" in done.output
    assert "hidden" not in done.output
    assert "eth0" not in done.output
    assert [file.name for file in own.iterdir()] == ["file"]
    assert list(read.iterdir()) == []


def test_nothing_is_left_of_a_program_whose_harness_was_killed(system):
    runner, shown = system
    begun = shown / "begun"
    begun.mkdir()
    argv = _SYSTEMD.wrap(["sh", "-c", f"touch {begun}/now; sleep 3600"], SandboxPaths((begun,)), {})
    harness = subprocess.Popen([*runner.enter, *argv], stdin=subprocess.DEVNULL)
    while not (begun / "now").exists():
        assert harness.poll() is None
        time.sleep(0.1)
    assert runner.units()
    harness.kill()
    harness.wait()
    while runner.units():  # the test's own time limit ends this
        time.sleep(0.1)


def test_the_command_line_has_no_variable_of_the_caller(monkeypatch):
    monkeypatch.setenv("API_TOKEN", "hidden-token")
    assert "hidden-token" not in " ".join(
        _SYSTEMD.wrap(["true"], SandboxPaths(), {"PATH": os.defpath})
    )
