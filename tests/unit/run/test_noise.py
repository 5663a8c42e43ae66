import os
from dataclasses import replace
from pathlib import Path

from harness.run.noise import (
    HostState,
    Process,
    noise_advice,
    noise_between,
    read_host_state,
)
from harness.spec.playbook import NoiseLimits

QUIET = HostState(100.0, 1.0, 0.5, 0, ("performance",), (3_700_000,))


def noise(after, own_s=0.0):
    return noise_between(QUIET, after, own_s=own_s, elapsed_s=10, cpus=4)


def test_this_host_can_be_read():
    state = read_host_state()
    assert state.busy_s > 0


def test_counters_are_read_as_documented(tmp_path):
    (tmp_path / "stat").write_text("cpu  100 0 50 900 5 10 10 30 0 0\n")
    (tmp_path / "loadavg").write_text("1.25 0.5 0.1 2/100 99\n")
    cpu = tmp_path / "sys/devices/system/cpu/cpu0"
    (cpu / "cpufreq").mkdir(parents=True)
    (cpu / "thermal_throttle").mkdir()
    (cpu / "cpufreq/scaling_governor").write_text("powersave\n")
    (cpu / "cpufreq/scaling_cur_freq").write_text("2200000\n")
    (cpu / "thermal_throttle/core_throttle_count").write_text("7\n")
    state = read_host_state(tmp_path, tmp_path / "sys")
    assert state == HostState(1.7, 0.3, 1.25, 7, ("powersave",), (2_200_000,))


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
    assert "stole 10.0% of the CPU time" in words
    assert "2 thermal" in words


def program_shares(before, after):
    """Of 10 s on 4 CPUs, with this harness as process 50."""
    states = [replace(QUIET, processes=processes) for processes in (before, after)]
    return dict(noise_between(*states, own_s=0, elapsed_s=10, cpus=4, own_pid=50).programs)


def process(name, parent=1, cpu_s=0.0, reaped_s=0.0, start=1):
    return Process(name, parent, start, cpu_s, reaped_s)


def test_the_three_largest_programs_are_named_with_their_shares():
    before = {7: process("firefox", cpu_s=100.0), 8: process("idle", cpu_s=50.0)}
    after = {
        7: process("firefox", cpu_s=108.0),
        8: process("idle", cpu_s=50.1),
        9: process("cc1", cpu_s=3.0),
        10: process("cc1", cpu_s=1.0),
        11: process("updatedb", cpu_s=2.0),
        12: process("cron", cpu_s=1.0),
    }
    assert program_shares(before, after) == {"firefox": 0.2, "cc1": 0.1, "updatedb": 0.05}


def test_what_the_harness_started_is_not_among_the_others():
    ours = {50: process("vmapbench", cpu_s=9.0), 51: process("qemu-system-x86", 50, cpu_s=9.0)}
    assert program_shares({}, ours | {52: process("child", 51, cpu_s=9.0)}) == {}


def test_what_ended_stands_under_the_program_that_waited_for_it():
    """make -> sh -> cc1: the last two end, and what they had taken before does not count."""
    before = {
        7: process("make", cpu_s=1.0, reaped_s=500.0),
        8: process("sh", 7, cpu_s=2.0, reaped_s=30.0),
        9: process("cc1", 8, cpu_s=40.0),
    }
    after = {7: process("make", cpu_s=1.0, reaped_s=500.0 + 2.0 + 30.0 + 48.0)}
    assert program_shares(before, after) == {"make": 0.2}


def test_the_first_process_is_not_blamed_for_what_orphans_took_before():
    """A child of make's shell outlives the shell, and ends as a child of the first process."""
    before = {
        1: process("init", 0),
        7: process("make"),
        8: process("sh", 7),
        9: process("cc1", 8, cpu_s=400.0),
    }
    after = {1: process("init", 0, reaped_s=404.0), 7: process("make")}
    assert program_shares(before, after) == {"init": 0.1}


def test_a_process_id_that_is_used_again_is_another_process():
    before = {7: process("old", cpu_s=100.0)}
    assert program_shares(before, {7: process("new", cpu_s=4.0, start=2)}) == {"new": 0.1}


def test_names_are_names_only_whatever_they_hold(tmp_path):
    folder = tmp_path / "7"
    folder.mkdir()
    rest = " ".join(str(number) for number in range(2, 22))
    (folder / "stat").write_text(f"7 (a (b) \x1b[31m) R {rest}\n")
    (tmp_path / "8").mkdir()  # it has just ended
    (read,) = read_host_state(tmp_path).processes.values()
    assert (read.name, read.parent, read.start) == ("a (b) ?[31m", 2, 20)
    per_s = os.sysconf("SC_CLK_TCK")
    assert (read.cpu_s, read.reaped_s) == ((12 + 13) / per_s, (14 + 15) / per_s)


def test_this_process_is_seen_by_its_program_s_name():
    processes = read_host_state().processes
    assert processes[os.getpid()].parent == os.getppid()
    assert processes[os.getpid()].name == Path("/proc/self/comm").read_text().strip()


def test_the_message_names_programs_and_the_advice_what_would_do():
    busy = replace(QUIET, busy_s=QUIET.busy_s + 13, processes={9: process("cc1", cpu_s=12.0)})
    found = noise_between(QUIET, busy, own_s=0, elapsed_s=10, cpus=4, own_pid=50)
    assert "used 32% of the CPU time (cc1 30%)" in found.excess(NoiseLimits())
    needed = found.limits_needed(NoiseLimits())
    assert needed == {"other_share": 0.35}
    assert found.excess(NoiseLimits(**needed)) == ""
    assert "noise: {other_share: 0.35}" in noise_advice([{"noise_limits_needed": needed}, {}])


def test_a_share_that_nobody_visible_took_is_said_to_be_so():
    busy = replace(QUIET, busy_s=QUIET.busy_s + 30, steal_s=QUIET.steal_s + 4, throttles=2)
    found = noise(busy, own_s=20)
    assert "(none is visible from here)" in found.excess(NoiseLimits())
    needed = found.limits_needed(NoiseLimits())
    assert needed == {"other_share": 0.3, "steal_share": 0.15, "throttles": 2}
    assert found.excess(NoiseLimits(**needed)) == ""
