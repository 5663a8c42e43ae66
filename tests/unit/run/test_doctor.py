from types import SimpleNamespace

import pytest

from harness.health import Health
from harness.process import Completed
from harness.run.doctor import (
    CHECKS,
    Environment,
    check_architectures,
    check_disk,
    check_qemu,
    check_toolchain,
    examine,
)


class FakeRunner:
    """Gives the same output for every program."""

    def __init__(self, output, returncode=0):
        self.output, self.returncode = output, returncode

    def run(self, argv, **_):
        return Completed(tuple(argv), self.returncode, self.output, 0.1)


@pytest.fixture
def environment(runner, tmp_path):
    return Environment(runner, tmp_path / "cache", tmp_path / "reports")


def test_this_machine_is_examined_whole(environment):
    findings = examine(environment)
    assert len(findings) == len(CHECKS)
    assert all(finding.found for finding in findings)
    assert all(finding.remedy for finding in findings if finding.health is not Health.OK)


@pytest.mark.parametrize(
    ("version", "health"),
    [("10.0.2", Health.OK), ("9.2.0", Health.OK), ("9.1.9", Health.WARN), ("7.2.9", Health.WARN)],
)
def test_an_old_qemu_is_told_apart(tmp_path, version, health):
    runner = FakeRunner(f"QEMU emulator version {version} (Debian)")
    finding = check_qemu(Environment(runner, tmp_path, tmp_path))
    assert finding.health is health


def test_a_qemu_that_makes_no_sense_is_a_failure_not_a_traceback(tmp_path):
    finding = check_qemu(Environment(FakeRunner("version what"), tmp_path, tmp_path))
    assert finding.health is Health.FAIL


def test_missing_programs_are_named(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = check_toolchain(environment)
    assert finding.health is Health.FAIL
    assert "flex" in finding.found


def test_what_another_architecture_lacks_is_said_with_the_command_that_installs_it(
    tmp_path, monkeypatch
):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gcc", "qemu-system-aarch64", "riscv64-linux-gnu-gcc", "qemu-system-riscv64"):
        (programs / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(machine="x86_64"))
    environment = Environment(FakeRunner("/usr/riscv64-linux-gnu/lib/libc.a\n"), tmp_path, tmp_path)
    row = check_architectures(environment)
    assert row.health is Health.OK  # nobody who measures x86-64 needs them
    assert row.found == "riscv: ready; arm64: aarch64-linux-gnu-gcc missing"
    assert row.remedy == "none needed; to have them: setup/install.sh arm64"
    environment = Environment(FakeRunner("libc.a\n"), tmp_path, tmp_path)
    assert "libc.a of riscv64-linux-gnu-gcc missing" in check_architectures(environment).found


def test_a_small_disk_is_a_failure(runner, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    runner.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)], check=True)
    try:
        finding = check_disk(Environment(runner, disk / "cache", tmp_path))
        assert finding.health is Health.FAIL
        assert "VMAPBENCH_CACHE" in finding.remedy
    finally:
        runner.run(["umount", str(disk)], check=True)
