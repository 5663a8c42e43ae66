"""Lab hosts for real: a Debian machine with GRUB and kexec that ssh and its power switch reach.

Whatever happens to the harness or the line, the host must return to its known-good kernel.
test_trial_kernels.py has what happens to the kernels.
"""

import contextlib
import signal
import time

import pytest

from harness.targets.ssh.helper import PATH
from harness.targets.ssh.transport import HostShell
from harness.targets.ssh.tuning import apply_tuning
from tests.e2e.lab_bench import LOAD, LONG_LOAD

KNOBS = ("/proc/sys/kernel/randomize_va_space", "/sys/kernel/mm/transparent_hugepage/enabled")


def test_the_whole_cycle(bench):
    for boot in bench.whole_cycle():
        knobs = boot["facts"]["tuning"]["knobs"]
        assert knobs["address_randomisation"] == {
            "wanted": "0",
            "state": "set",
            "before": "2",
            "now": "0",
        }
        assert knobs["governor"]["state"] == "absent"


@pytest.mark.long  # a kernel that traces its locks is built
def test_a_load_under_perf_says_where_its_time_goes(bench):
    load = {**LOAD, "test_loop_count": 3000}
    status, said = bench.run("run", bench.playbook("lab-vmap-nodes", load=load), "--explain")
    assert status == 0, said
    assert "is not explained" not in said
    assert "no kernel is explained" not in said
    assert len(bench.boots()) == 1
    found = bench.results()["explanation"]["kernels"]["lab-vmap-nodes"]
    named = {name for stack in found["stacks"] for name in stack["functions"]}
    assert {"[module]", "__vmalloc_node_range_noprof", "alloc_vmap_area"} <= named
    called_by = {
        tuple(stack["functions"][at - 1 : at + 1])
        for stack in found["stacks"]
        for at in range(1, len(stack["functions"]))
    }
    assert ("[module]", "vfree") in called_by or ("[module]", "vfree_atomic") in called_by
    assert found["locks"], "the kernel traced no wait"
    assert all(use["hold_ns"] is None for use in found["locks"])
    assert bench.on_known_good()


def test_killed_in_each_phase_then_resumed_over_a_line_that_is_cut(bench):
    book = bench.playbook("lab-vmap-nodes", load=LONG_LOAD)
    phases = (bench.staging, bench.booting, bench.testing)
    with contextlib.closing(bench.box.as_root()) as shell:  # what the trial before has left
        shell.run(["rm", "-rf", "/var/cache/vmapbench"], check=True)
    for number, reached in enumerate(phases):
        bench.trials_before = bench.trials()
        process = bench.start(*(["run", book] if number == 0 else ["run", "--resume", "latest"]))
        bench.wait_until(process, reached)
        process.send_signal(signal.SIGKILL)
        process.wait()
    bench.trials_before = bench.trials()
    process = bench.start("run", "--resume", "latest")
    bench.wait_until(process, bench.testing)
    bench.box.link(up=False)
    bench.wait_until(process, lambda: "---- vmapbench: " in bench.seen().rpartition("] ")[2])
    bench.box.link(up=True)
    assert process.wait() == 0, (bench.folder / "harness.log").read_text()
    assert [boot["verdict"] for boot in bench.boots()] == ["passed"]
    assert "---- vmapbench: connected again" in bench.seen()
    assert bench.on_known_good()


def test_a_second_harness_is_turned_away(bench, monkeypatch):
    monkeypatch.chdir(bench.folder)
    with contextlib.closing(bench.target()) as target:
        target.check()
        status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
        assert status == 2, said
        assert "held by" in said
    assert bench.on_known_good()


def test_the_account_can_do_what_the_helper_does_and_no_more(bench):
    """On the box's own sudo, as the account."""
    with contextlib.closing(HostShell(bench.box.host("kexec"))) as shell:
        assert shell.run(["armed", "grub"], root=True, check=True).stdout == "no\n"
        assert shell.run(["put", "../../etc/cron.d/x", "0" * 64], root=True).returncode == 2
        assert shell.run(["load", "1"], root=True).returncode == 2  # this is no trial kernel
        for argv in (["cat", "/etc/shadow"], ["sh", PATH, "dmesg"], ["/var/lib/vmapbench/load"]):
            done = shell.run(["sudo", "-n", "--", *argv])
            assert (done.returncode, done.stdout) == (1, "")
        listed = shell.run(["ls", "-ld", "/var/cache/vmapbench", PATH]).stdout.splitlines()
        assert all(line.split()[2] == "root" and line[8] == "-" for line in listed), listed


def test_a_helper_that_is_missing_or_another_is_said(bench):
    with contextlib.closing(bench.box.as_root()) as shell:
        for change, words in (
            (["mv", PATH, f"{PATH}.kept"], "does not exist"),
            (["sh", "-c", f"{{ cat {PATH}.kept; echo :; }} >{PATH}"], "differs from that of this"),
        ):
            shell.run(change, check=True)
            status, said = bench.run("host", "check", "box")
            assert status == 1
            assert f"helper: {PATH} {words}" in said
            assert "install what vmapbench host helper box prints" in said
        status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
        assert (status, "differs from that of this" in said) == (2, True)
        shell.run(["mv", f"{PATH}.kept", PATH], check=True)
    status, said = bench.run("host", "check", "box")
    assert "sudo: only the helper is allowed" in said
    assert bench.on_known_good()


def test_knobs_come_back_without_the_harness(bench):
    """systemd on the host restores what a harness that is gone has set."""
    spec = bench.box.host("kexec")
    with contextlib.closing(HostShell(spec)) as shell:
        before = shell.run(["cat", *KNOBS]).stdout
        tuned = apply_tuning(shell, "generic-x86", lease_s=20)
        assert {knob.name: knob.now for knob in tuned.knobs}["address_randomisation"] == "0"
        assert shell.run(["cat", *KNOBS]).stdout != before
    with contextlib.closing(HostShell(spec)) as shell:
        while shell.run(["cat", *KNOBS]).stdout != before:
            time.sleep(1)
    assert bench.on_known_good()


def test_a_full_disk_is_said_before_any_boot(bench):
    fill = "/var/cache/fill"
    with contextlib.closing(bench.box.as_root()) as shell:
        free = int(shell.run(["df", "-m", "--output=avail", "/"]).stdout.split()[-1])
        shell.run(["fallocate", "-l", f"{free - 40}M", fill], check=True)
        try:
            status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
        finally:
            shell.run(["rm", "-f", fill], check=True)
    assert status == 2, said
    assert "MiB free at /var/cache" in said
    assert bench.on_known_good()


def test_a_host_with_another_key_is_not_spoken_to(bench):
    wrong = bench.folder / "wrong"
    key = (bench.box.image.folder / "user_key.pub").read_text().split()
    wrong.write_text(f"[127.0.0.1]:{bench.box.port} {key[0]} {key[1]}\n")
    bench.connect_to_box(known_hosts=str(wrong))
    status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
    assert status == 2, said
    assert "its host key is ED25519 SHA256:" in said
    assert bench.on_known_good()
