"""The guard in a real kernel: the machine resets, whatever the host's own init does."""

import stat
from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.guest.initramfs import CpioEntry, ensure_program, render_cpio
from harness.process import SubprocessRunner
from harness.targets.ssh.stage import ensure_guard, guard_archive


@pytest.fixture
def boot(built, tmp_path):
    def run(*parameters, extra=(), name="single-node"):
        runner, kernel = SubprocessRunner(), built(name)
        arch = kernel.spec.arch
        source = (Path(__file__).parent / "guarded_init.c").read_bytes()
        init = ensure_program("guarded_init", source, cache_folder(), runner, arch)
        guard = ensure_guard(cache_folder(), runner, arch)
        folder = stat.S_IFDIR | 0o755
        host = render_cpio(
            [
                CpioEntry("dev", folder),
                CpioEntry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
                CpioEntry("init", stat.S_IFREG | 0o755, init.read_bytes()),
            ]
        )
        (tmp_path / "initrd").write_bytes(guard_archive(guard.read_bytes()) + host)
        line = [f"console={arch.console}", "panic=1", "rdinit=/vmapbench/guard", *parameters]
        argv = [
            *[arch.qemu, "-nodefaults", "-display", "none", "-no-reboot"],
            *["-machine", arch.machine_for(1, "tcg"), "-cpu", arch.cpu_model],
            *["-accel", "tcg", "-m", "512M", "-serial", "stdio"],
            *["-kernel", str(kernel.image), "-initrd", str(tmp_path / "initrd")],
            *["-append", " ".join(line), *extra],
        ]
        return runner.run(argv).output

    return run


def test_nobody_confirms(boot):
    said = boot("vmapbench.trial=ab", "vmapbench.confirm=6", "vmapbench.lease=600")
    assert "host init runs as 1, idle" in said
    assert "guard: 6 s to confirm this kernel" in said
    assert "nobody confirmed this kernel: going back" in said


@pytest.mark.long
def test_nobody_confirms_on_arm64(boot, needs):
    needs("arm64")
    said = boot("vmapbench.trial=ab", "vmapbench.confirm=6", name="arm64-4k")
    assert "Machine model: linux,dummy-virt" in said
    assert "host init runs as 1, idle" in said
    assert "nobody confirmed this kernel: going back" in said


def test_a_lease_runs_out(boot):
    said = boot("vmapbench.trial=ab", "vmapbench.confirm=60", "vmapbench.lease=3", "HOST=confirm")
    assert "guard: confirmed, for 3 s" in said
    assert "the lease was not renewed: going back" in said


def test_it_survives_what_systemd_does_to_processes(boot):
    said = boot("vmapbench.trial=ab", "vmapbench.confirm=8", "HOST=shutdown")
    assert "nobody confirmed this kernel: going back" in said


def test_a_kernel_without_a_host_panics_and_resets(boot):
    said = boot("rdinit=/nonexistent", "root=/dev/nothing", "vmapbench.confirm=600")
    assert "Kernel panic" in said
