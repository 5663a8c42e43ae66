"""Whole boots on a host of scripts behind a real sshd, and all that cuts them short."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, InputError
from harness.process import SubprocessRunner
from harness.spec.architecture import ARM64, X86_64
from harness.targets.base import BootRequest
from harness.targets.ssh import connection
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.lock import read_lock
from harness.targets.ssh.restore import known_good, wait_for
from harness.targets.ssh.spec import SshSpec
from harness.targets.ssh.target import SshTarget
from harness.targets.ssh.transport import HostShell
from harness.verdict import Verdict
from tests.flow.fakes import fake_kernel
from tests.flow.scripted_host import ScriptedHost, kernel_log


@pytest.fixture
def host(tmp_path):
    host = ScriptedHost(tmp_path / "host")
    host.set("summary", kernel_log())
    yield host
    host.stop()


def target_of(host, folder, arch=X86_64, **more):
    spec = SshSpec(kind="ssh", host="box", cpus=1)
    return SshTarget(
        spec, host.spec(folder, **more), folder / "cache", SubprocessRunner(), host.guard, arch
    )


@pytest.fixture
def target(host, tmp_path):
    target = target_of(host, tmp_path)
    yield target
    target.close()


@pytest.fixture
def request_for(tmp_path, module_bytes):
    def make(name="boot", expected_s=5.0, loads=("nr_threads=2",)):
        kernel = fake_kernel(tmp_path / "kernels", "fast", module_bytes)
        kernel.vmlinux.write_bytes(module_bytes)  # an ELF file without a build id
        folder = tmp_path / name
        folder.mkdir()
        return BootRequest(kernel, 1, loads, 512, expected_s, folder)

    return make


def boot(target, request, on_phase=lambda _: None):
    target.check()
    return target.boot(request, on_phase)


def test_a_whole_boot(host, target, request_for):
    phases = []
    result = boot(target, request_for(loads=("nr_threads=1", "nr_threads=2")), phases.append)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert phases == [
        "preparing the host",
        "booting",
        "testing",
        "testing",
        "returning to the known-good kernel",
    ]
    assert result.load_ns == (5_000_000, 5_000_000)
    assert "All test took worker1" in result.kernel_log
    assert "[    0.000001] Linux version" in result.console.read_text()
    assert [reading["moment"] for reading in result.facts["memory"]] == [
        *("before", "after load 1", "after load 2", "at rest")
    ]
    assert {"panic=30", "root=/dev/fake", "rdinit=/vmapbench/guard"} <= set(result.argv)
    assert "quiet" not in result.argv
    combined = (host.folder / "state/trial/initrd").read_bytes()
    assert combined.startswith(b"070701")
    assert combined.endswith(b"the host's own")
    assert host.get("commands").count("-USR1 -x vmapbench-guard") == 3
    assert host.on_known_good
    target.close()
    with pytest.raises(FileNotFoundError):
        (host.folder / "state/lock").read_text()


def test_a_trial_that_falls_back_at_once(host, target, request_for):
    host.set("behaviour", "panic")
    pstore = host.machine / "pstore"
    pstore.mkdir()
    (pstore / "dmesg-1").write_text("<0>[ 1.0] Kernel panic - not syncing: VFS: no root\n")
    result = boot(target, request_for())
    assert result.verdict is Verdict.CRASHED
    assert "VFS: no root" in result.reason
    assert "---- vmapbench: pstore" in result.console.read_text()
    assert host.on_known_good


@pytest.mark.parametrize("place", ["kmsg", "serial"])
@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (
            "BUG: sleeping function called from invalid context",
            Verdict.PASSED,
        ),  # a splat, see judge
        ("kernel BUG at mm/vmalloc.c:1!", Verdict.CRASHED),
    ],
)
def test_what_a_trial_says_once_its_log_is_read_counts_too(
    host, tmp_path, request_for, place, words, verdict
):
    host.set("serial", "[    0.000001] Linux version")
    host.set("dmesg", host.get("serial"))
    line = {"kmsg": f"3,9,9000000,-;{words}", "serial": f"[    9.000000] {words}"}[place]
    late = f"echo '{line}' >>{host.machine}/{place}; sleep 1"
    host.script("dmesg", f"/bin/cat {host.machine}/dmesg; {late}")
    target = target_of(host, tmp_path, console=f"[tail, -n+1, -F, {host.machine}/serial]")
    result = boot(target, request_for())
    target.close()
    assert result.verdict is verdict
    log = result.kernel_log or result.console.read_text()  # which a crash is looked for in
    assert log.count(f"[    9.000000] {words}") == 1
    # A crash that is seen before the log was collected leaves no log, and the whole serial line.
    assert result.kernel_log is None or log.count("Linux version") == 1


def test_a_crash_that_only_the_firmware_kept_is_no_pass(host, target, request_for):
    (host.machine / "pstore").mkdir()
    (host.machine / "pstore/dmesg-1").write_text("<0>[ 9.0] Kernel panic - not syncing: late\n")
    assert boot(target, request_for()).verdict is Verdict.CRASHED


def test_a_trial_that_falls_back_without_a_word(host, target, request_for):
    host.set("behaviour", "panic")
    result = boot(target, request_for())
    assert result.verdict is Verdict.NO_BOOT
    assert "known-good" in result.reason


def test_a_trial_that_hangs_is_ended_by_its_power(host, tmp_path, request_for):
    host.set("behaviour", "hang")
    target = target_of(host, tmp_path)
    target.host = target.host.model_copy(
        update={
            "boot": target.host.boot.model_copy(
                update={"answer_within_s": 2, "confirm_within_s": 1, "panic_s": 1}
            )
        }
    )
    result = boot(target, request_for())
    target.close()
    assert result.verdict is Verdict.NO_BOOT
    assert "power" in host.get("commands")
    assert host.on_known_good


def test_a_cut_connection_costs_nothing(host, target, request_for):
    host.set("load_s", "3")
    cutter = threading.Timer(1.0, host.cut)

    def on_phase(phase):
        if phase == "testing":
            cutter.start()

    result = boot(target, request_for(), on_phase)
    cutter.join()
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert result.load_ns == (5_000_000,)
    assert "---- vmapbench: connected again" in result.console.read_text()
    assert result.console.read_text().count("Linux version") == 1


@pytest.mark.parametrize(
    ("load_s", "expected_s"),
    [
        pytest.param("1", 1.0, id="past the grace, and the load is over"),
        pytest.param("6", 8.0, id="while the load goes on"),
    ],
)
def test_a_connection_that_goes_dead_costs_nothing(
    host, target, request_for, monkeypatch, load_s, expected_s
):
    monkeypatch.setattr(connection, "DEAD_AFTER_S", 3.0)
    monkeypatch.setattr(connection, "ALIVE_EVERY_S", 0.5)
    host.set("load_s", load_s)
    target.grace_s = 1.0
    freezer = threading.Timer(0.5, host.freeze)

    def on_phase(phase):
        if phase == "testing":
            freezer.start()

    result = boot(target, request_for(expected_s=expected_s), on_phase)
    freezer.join()
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert result.load_ns == (5_000_000,)
    assert "---- vmapbench: connected again" in result.console.read_text()


def test_an_oops_ends_the_trial_and_its_words_are_kept(host, target, request_for):
    host.set("load_s", "60")
    host.on_load(
        'echo "1,1,2000000,-;BUG: kernel NULL pointer dereference, address: 08" >>$m/kmsg'
        '\necho "1,2,2000001,-;RIP: 0010:alloc_vmap_area+0x11" >>$m/kmsg'
    )
    result = boot(target, request_for())
    assert result.verdict is Verdict.CRASHED
    assert "NULL pointer dereference" in result.reason
    assert "RIP: 0010:alloc_vmap_area" in result.console.read_text()
    assert "reboot --force --force" in host.get("commands")
    assert host.on_known_good


def test_a_module_that_hangs(host, target, request_for):
    host.set("load_s", "600")
    target.grace_s = 1.0
    result = boot(target, request_for(expected_s=1.0))
    assert result.verdict is Verdict.HUNG
    assert "no output past the expected time" in result.reason
    assert "reboot --force --force" in host.get("commands")
    assert host.on_known_good


def test_a_reboot_in_the_middle(host, target, request_for):
    host.set("load_s", "60")
    host.on_load("sleep 0.5; exec $m/bin/boot home")
    result = boot(target, request_for())
    assert result.verdict is Verdict.INTERRUPTED
    assert "left the trial kernel" in result.reason
    assert host.on_known_good


def test_another_kernel_than_the_one_sent(host, target, request_for):
    host.script("boot", (host.machine / "bin/boot").read_text().replace("6.12.0-fake", "6.12.9"))
    with pytest.raises(InfrastructureError, match=r"its release is 6.12.9, expected 6.12.0-fake"):
        boot(target, request_for())
    assert wait_for(target.connect, known_good, 10)


def test_a_trial_without_its_guard_is_not_gone_on_with(host, target, request_for):
    host.set("guard", "1")
    with pytest.raises(InfrastructureError, match="guard is not running"):
        boot(target, request_for())
    assert wait_for(target.connect, known_good, 10)


def test_a_host_that_still_restarts_is_waited_for(host, target, caplog):
    host.stop()
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(target.check)
        while "waiting" not in caplog.text:
            assert not checked.done(), checked.exception()
            time.sleep(0.05)
        host.start()
        checked.result()
    assert "it may be restarting: waiting up to 10 s" in caplog.text


def test_a_host_that_never_answers_is_given_up(host, target):
    host.stop()
    boot = target.host.boot.model_copy(update={"answer_within_s": 1})
    target.host = target.host.model_copy(update={"boot": boot})
    with pytest.raises(ConnectionLostError, match="vmapbench host check box"):
        target.check()


def test_two_harnesses_at_once(host, target, request_for, tmp_path):
    target.check()
    other = target_of(host, tmp_path)
    with pytest.raises(InputError, match="host box: held by .* for a run"):
        other.check()
    other.close()
    assert target.boot(request_for(), lambda _: None).verdict is Verdict.PASSED
    target.close()
    other.check()
    other.close()


def test_a_lock_that_was_broken_stops_the_run(host, target, request_for):
    target.check()
    (host.folder / "state/lock").unlink()
    with pytest.raises(InfrastructureError, match="removed by someone else"):
        target.boot(request_for(), lambda _: None)
    assert host.on_known_good


def test_kernels_for_another_architecture_are_refused_before_anything_is_copied(host, tmp_path):
    target = target_of(host, tmp_path, ARM64, tuning="generic-x86")
    with pytest.raises(InputError) as refused:
        target.check()
    assert "machine: x86_64, but the kernels are for arm64; use kernels for this" in str(refused)
    assert "tuning: generic-x86 is for x86_64; for arm64: generic, generic-arm64" in str(refused)
    assert not (host.folder / "state/trial").exists()


def test_a_host_that_cannot_be_used_is_refused_whole_and_freed(host, tmp_path):
    (host.folder / "initrd").unlink()
    target = target_of(host, tmp_path, topology="{cpus: 4096}")
    with pytest.raises(InputError) as caught:
        target.check()
    assert "initial file system" in str(caught.value)
    assert "expected 4096" in str(caught.value)
    assert not (host.folder / "state/lock").exists()


@pytest.fixture
def small_host(tmp_path):
    """Its state folder has room for 600 KiB."""
    folder = tmp_path / "host"
    mount = f'mount -t tmpfs -o size=600k none {folder}/state && exec "$@"'
    user = () if os.geteuid() == 0 else ("-r",)
    host = ScriptedHost(folder, wrapper=("unshare", "-m", *user, "sh", "-c", mount, "sh"))
    yield host
    host.stop()


def test_a_full_disk_is_seen_before(small_host, tmp_path):
    target = target_of(small_host, tmp_path)
    with pytest.raises(InputError, match="1 MiB free .*400 MiB are needed"):
        target.check()


def test_a_disk_that_fills_up_later(small_host, tmp_path, request_for):
    target = target_of(small_host, tmp_path)
    request = request_for()
    request.kernel.image.write_bytes(bytes(1 << 20))
    target.hold()
    with pytest.raises(InfrastructureError, match="is the disk full"):
        target.boot(request, lambda _: None)
    target.close()
    assert small_host.on_known_good


BOOT = """
import sys, time
from pathlib import Path
from harness.process import SubprocessRunner
from harness.spec.host import load_host_file
from harness.targets.base import BootRequest
from harness.targets.ssh.spec import SshSpec
from harness.targets.ssh.target import SshTarget
from tests.flow.fakes import fake_kernel
folder, machine, phase = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
module = Path(sys.argv[4]).read_bytes()
kernel = fake_kernel(folder / "kernels", "fast", module)
kernel.vmlinux.write_bytes(module)
(folder / "killed").mkdir()
guard = machine / "bin/power"
spec = SshSpec(kind="ssh", host="box", cpus=1)
host = load_host_file(folder / "box.yaml")
target = SshTarget(spec, host, folder, SubprocessRunner(), lambda *_: guard)
def told(words):
    if words == phase:
        print("now", flush=True)
        if len(sys.argv) > 5: time.sleep(60)
target.check()
told("checked")
target.boot(BootRequest(kernel, 1, ("nr_threads=2",), 512, 5.0, folder / "killed"), told)
told("done")
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("phase", "held"),
    [
        *((phase, True) for phase in ("checked", "preparing the host", "booting", "testing")),
        *((phase, True) for phase in ("returning to the known-good kernel", "done")),
        *((phase, False) for phase in ("preparing the host", "booting", "testing")),
    ],
)
def test_killed_with_9_in_any_phase(host, tmp_path, request_for, repository, phase, held, start):
    host.spec(tmp_path)
    host.set("load_s", "1")
    module = repository / "tests/data/test_vmalloc-6.12-modinfo.o"
    argv = [str(tmp_path), str(host.machine), phase, str(module), *(["stay"] if held else [])]
    child = start(
        [sys.executable, "-c", BOOT, *argv],
        stdout=subprocess.PIPE,
        text=True,
        cwd=repository,
    )
    assert child.stdout.readline() == "now\n"
    if not held:
        time.sleep(0.3)  # into the phase, wherever that is
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    target = target_of(host, tmp_path)
    result = boot(target, request_for())
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    assert host.on_known_good
    target.close()
    shell = HostShell(target.host)
    assert read_lock(shell, target.host.state) is None
    shell.close()


def test_recovery_by_hand(host, tmp_path):
    from harness.targets.ssh.recovery import recover_host

    spec, told = host.spec(tmp_path), []
    Path(host.machine / "kexec").write_text("armed")
    host.set("cmdline", "root=/dev/fake vmapbench.trial=ab")
    assert known_good(recover_host(spec, SubprocessRunner(), told.append))
    assert host.on_known_good
    assert told[0] == "rebooting into the known-good kernel"


class _BusyFor(SshTarget):
    """Its first `refusals` connections after it was taken are refused."""

    refusals = 0

    def connect(self):
        if self._held is False and self.refusals:
            self.refusals -= 1
            raise ConnectionLostError("the host is busy")
        return super().connect()


@pytest.mark.parametrize(("refusals", "free"), [(2, True), (3, False)])
def test_a_host_too_busy_to_be_released_is_asked_again(host, tmp_path, caplog, refusals, free):
    spec = SshSpec(kind="ssh", host="box", cpus=1)
    target = _BusyFor(spec, host.spec(tmp_path), tmp_path / "cache", SubprocessRunner(), host.guard)
    target.hold()
    target.refusals = refusals
    target.close()
    assert (host.folder / "state/lock").exists() is not free
    assert ("remains locked: the host is busy" in caplog.text) is not free


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        ("preparing the host", signal.SIGTERM),
        ("booting", signal.SIGHUP),
        ("testing", signal.SIGTERM),
        ("returning to the known-good kernel", signal.SIGHUP),
    ],
)
def test_a_signal_that_ends_the_harness_releases_the_host(
    host, tmp_path, repository, phase, number, start
):
    host.spec(tmp_path)
    host.set("load_s", "1")
    module = repository / "tests/data/test_vmalloc-6.12-modinfo.o"
    begin, end = BOOT.split("target.check()")
    body = "".join(f"        {line}\n" for line in ("target.check()" + end).splitlines())
    script = (
        "from harness.signals import termination_interrupts\nimport contextlib\n"
        f"{begin}\nwith termination_interrupts():\n    with contextlib.closing(target):\n{body}"
    )
    child = start(
        [
            sys.executable,
            "-c",
            script,
            str(tmp_path),
            str(host.machine),
            phase,
            str(module),
            "stay",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=repository,
    )
    assert child.stdout.readline() == "now\n"
    child.send_signal(number)
    _, said = child.communicate()
    assert child.returncode
    assert "KeyboardInterrupt" in said
    assert not (host.folder / "state/lock").exists()
    assert host.on_known_good
