import os
from dataclasses import replace

from harness.run.noise import HostState, noise_between, read_host_state
from harness.spec.playbook import NoiseLimits

QUIET = HostState(100.0, 1.0, 0.5, 0, ("performance",), (3_700_000,), 1)


def noise(after, own_s=0.0):
    return noise_between(QUIET, after, own_s=own_s, elapsed_s=10, cpus=4)


def test_this_host_can_be_read():
    state = read_host_state()
    assert state.busy_s > 0
    assert state.runnable >= 1


def test_counters_are_read_as_documented(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 0 50 900 5 10 10 30 0 0\nprocs_running 3\n")
    (tmp_path / "loadavg").write_text("1.25 0.5 0.1 2/100 99\n")
    cpu = tmp_path / "sys/devices/system/cpu/cpu0"
    (cpu / "cpufreq").mkdir(parents=True)
    (cpu / "thermal_throttle").mkdir()
    (cpu / "cpufreq/scaling_governor").write_text("powersave\n")
    (cpu / "cpufreq/scaling_cur_freq").write_text("2200000\n")
    (cpu / "thermal_throttle/core_throttle_count").write_text("7\n")
    state = read_host_state(tmp_path, tmp_path / "sys")
    assert state == HostState(1.7, 0.3, 1.25, 7, ("powersave",), (2_200_000,), 3)


def test_other_people_with_processes_are_counted(tmp_path):
    for process, owner in (("7", 1500), ("8", 1500), ("9", 1501), ("10", 999), ("11", 0)):
        (tmp_path / process).mkdir()
        os.chown(tmp_path / process, owner, -1)
    state = read_host_state(tmp_path)
    assert state.other_users == 2
    assert noise(replace(QUIET, other_users=2)).other_users == 2
    assert noise(replace(QUIET, other_users=2)).excess(NoiseLimits()) == ""


def test_own_work_is_no_noise():
    busy = replace(QUIET, busy_s=QUIET.busy_s + 20)
    assert noise(busy, own_s=20).excess(NoiseLimits()) == ""


def test_a_busy_neighbour_is():
    busy = replace(QUIET, busy_s=QUIET.busy_s + 30)
    assert "25% of the CPU time" in noise(busy, own_s=20).excess(NoiseLimits())


def test_steal_and_throttling_are_named():
    disturbed = replace(QUIET, steal_s=QUIET.steal_s + 4, throttles=2)
    words = noise(disturbed).excess(NoiseLimits())
    assert "10.0% (steal)" in words
    assert "2 thermal" in words
