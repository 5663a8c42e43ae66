"""Extra boots of a lab host: a host of scripts, the helper with a real perf, and one without."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.process import SubprocessRunner
from harness.targets.base import BootRequest
from harness.targets.explanation import FILE, read_explanation
from harness.targets.ssh.explain import folded_stacks
from harness.targets.ssh.spec import SshSpec
from harness.targets.ssh.target import SshTarget
from harness.verdict import Verdict
from tests.flow.fakes import fake_kernel
from tests.flow.helper_stand import TRIAL, HelperStand
from tests.flow.scripted_host import ScriptedHost, kernel_log

REPORT = Path(__file__).parents[1] / "data/perf/report.txt"
LOCK = "events/lock/contention_begin"


@pytest.fixture
def host(tmp_path):
    host = ScriptedHost(tmp_path / "host")
    host.set("summary", kernel_log())
    host.set("profile", REPORT.read_text())
    yield host
    host.stop()


@pytest.fixture
def target(host, tmp_path):
    spec = SshSpec(kind="ssh", host="box", cpus=1)
    box = host.spec(tmp_path)
    target = SshTarget(spec, box, tmp_path / "cache", SubprocessRunner(), host.guard)
    yield target
    target.close()


@pytest.fixture
def request_(tmp_path, module_bytes):
    kernel = fake_kernel(tmp_path / "kernels", "fast", module_bytes)
    kernel.vmlinux.write_bytes(module_bytes)
    kernel.system_map.write_text("ffffffff82000100 d free_vmap_area_lock\n")
    (tmp_path / "boot").mkdir()
    loads = ("nr_threads=1", "nr_threads=2")
    return BootRequest(kernel, 1, loads, 512, 5.0, tmp_path / "boot", explain=True)


def test_the_measured_load_runs_under_perf(host, target, request_):
    target.check()
    target.check_explaining()
    result = target.boot(request_, lambda _: None)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    found = read_explanation(request_.folder / FILE)
    assert len(found.stacks) == len(folded_stacks(REPORT.read_text()))
    assert found.clock == "the lab host's clock"
    assert "nokaslr" in result.argv
    called = host.get("commands").splitlines()
    recorded = [line for line in called if line.startswith("perf record ")]
    assert len(recorded) == 1
    assert " --all-cpus --all-kernel " in recorded[0]
    module = f"{host.folder}/state/trial/module.ko"
    assert [line for line in called if line.startswith(module)] == [
        f"{module} nr_threads={workers}" for workers in (1, 2)
    ]
    assert host.on_known_good


def test_a_sample_never_runs_under_perf(host, target, request_):
    target.check()
    result = target.boot(replace(request_, explain=False), lambda _: None)
    assert result.verdict is Verdict.PASSED
    assert "perf" not in host.get("commands")
    assert "nokaslr" not in result.argv


def test_a_profile_that_is_no_profile_leaves_no_account(host, target, request_):
    host.set("profile", "Error:\nthe perf.data data has no samples!")
    target.check()
    assert target.boot(request_, lambda _: None).verdict is Verdict.PASSED
    assert read_explanation(request_.folder / FILE) is None


def test_without_perf_it_is_said_what_to_install(host, target):
    host.script("perf", "exit 127")
    target.check()
    with pytest.raises(InfrastructureError, match=r"host box: perf is missing: install linux-perf"):
        target.check_explaining()


def records():
    """Whether perf may sample this machine."""
    command = ["perf", "record", "-q", "-a", "--all-kernel", "-g", "-o", "/dev/null", "true"]
    if not shutil.which("perf"):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_real_perf_samples_what_loads_the_module(tmp_path):
    if not records():
        pytest.skip("perf is not installed, or may not sample this machine")
    stand = HelperStand(tmp_path)
    stand.runs(TRIAL)
    stand.trial.mkdir()
    busy = "cat /proc/kallsyms /proc/kallsyms >/dev/null"
    stand.program("insmod", f"{busy}; {busy}; {busy}; exit 1")
    done = stand.run("profile", "1", "nr_threads=2")
    assert done.returncode == 0, done.stderr
    assert (stand.trial / "result.1").read_text().startswith("elapsed_ns=0 ")
    assert any(line.startswith("insmod ") for line in stand.called())
    stacks = folded_stacks(stand.run("profiled").stdout.decode())
    seen = {name for names in stacks for name in names}
    assert {"s_show", "seq_read_iter"} & seen, stacks


def test_a_perf_that_cannot_record_says_why(tmp_path):
    stand = HelperStand(tmp_path)
    stand.runs(TRIAL)
    stand.trial.mkdir()
    stand.program("perf", '[ "$1" != record ] || { echo "no such event" >&2; exit 1; }')
    done = stand.run("profile", "1")
    assert done.returncode == 1
    assert b"perf: no such event" in done.stderr


def test_the_one_perf_of_the_known_good_kernel_will_do(tmp_path):
    """Ubuntu's perf refuses to run on another kernel than its own."""
    stand = HelperStand(tmp_path)
    stand.program("perf", "exit 2")
    kept = tmp_path / "linux-tools" / "6.8.0-40-generic" / "perf"
    kept.parent.mkdir(parents=True)
    kept.write_text("#!/bin/sh\necho perf version 6.8\n")
    kept.chmod(0o755)
    done = stand.run("perf")
    assert (done.returncode, done.stdout) == (0, b"perf version 6.8\n")


def test_waits_for_locks_are_traced_where_the_kernel_can(tmp_path):
    stand = HelperStand(tmp_path)
    stand.runs(TRIAL)
    stand.trial.mkdir()
    stand.program("perf", "exit 0")
    stand.run("profile", "1")
    assert stand.run("waits").stdout == b""
    for event in ("lock/contention_begin", "lock/contention_end", "synthetic/lock_wait"):
        (stand.folder / "tracing/events" / event).mkdir(parents=True)
    stand.run("profile", "2")
    written = (stand.folder / "tracing" / LOCK / "trigger").read_text()
    assert written.startswith("hist:keys=common_pid,lock_addr:")
    assert "synthetic_events" in {file.name for file in (stand.folder / "tracing").iterdir()}
    (stand.folder / "tracing/events/synthetic/lock_wait/hist").write_text("{ lock: 1 }\n")
    assert stand.run("waits").stdout == b"{ lock: 1 }\n"
