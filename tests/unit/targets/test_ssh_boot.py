import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.spec.host import BOOT_METHODS, Boot
from harness.targets.ssh.boot import grub, kexec, systemd_boot
from harness.targets.ssh.boot_method import (
    Trial,
    boot_method,
    guard_parameters,
    trial_command_line,
)

TRIAL = Trial("ab12", "/s/trial/bzImage", "/s/trial/initrd", "root=UUID=1 ro vmapbench.trial=ab12")


@pytest.mark.parametrize("name", BOOT_METHODS)
def test_every_method_names_what_it_runs_and_reads(name):
    method = boot_method(Boot(method=name))
    steps = [*method.arm(TRIAL, "/s"), *method.disarm(), method.start()]
    programs = {step.argv[0] for step in steps} - {"install", "cp", "sync"}
    assert programs <= set(method.programs())
    assert set(method.texts(TRIAL)) == {
        word.rpartition("/")[2]
        for step in method.arm(TRIAL, "/s")
        for word in step.argv
        if word.startswith("/s/trial/") and word.endswith((".cfg", ".conf"))
    }


def test_kexec_gets_one_word_for_the_whole_command_line():
    assert kexec.load_argv(TRIAL)[-1] == f"--command-line={TRIAL.command_line}"


def test_the_grub_entry():
    assert grub.render_entry(TRIAL) == (
        "menuentry 'vmapbench trial ab12' --id vmapbench-trial {\n"
        "    linux $prefix/vmapbench/bzImage root=UUID=1 ro vmapbench.trial=ab12\n"
        "    initrd $prefix/vmapbench/initrd\n"
        "}\n"
    )


def test_the_grub_entry_quotes_what_grub_would_expand():
    entry = grub.render_entry(Trial("ab", "", "", "a=$root b=x;reboot c={d}"))
    line = next(line for line in entry.split("\n") if "linux" in line)
    assert shlex.split(line)[2:] == ["a=$root", "b=x;reboot", "c={d}"]
    with pytest.raises(InputError, match="quotes"):
        grub.render_entry(Trial("ab", "", "", 'dyndbg="file x +p"'))


def test_the_default_is_touched_by_no_method():
    """What a power cycle starts must stay what it was."""
    for name in BOOT_METHODS:
        method = boot_method(Boot(method=name))
        words = [w for s in (*method.arm(TRIAL, "/s"), *method.disarm()) for w in s.argv]
        assert not {"grub-set-default", "update-grub", "set-default", "saved_entry"} & set(words)


@pytest.mark.parametrize(
    ("mount", "good"),
    [
        ("/dev/nvme0n1p2 ext4\n", True),
        ("/dev/sda1 xfs", True),
        ("/dev/mapper/vg-root ext4", False),
        ("/dev/md0 ext4", False),
        ("/dev/sda1[/@] btrfs", False),
        ("", False),
    ],
)
def test_grub_is_refused_where_it_could_not_forget_the_trial(mount, good):
    assert (grub.storage_faults(mount) == []) == good


def test_the_systemd_boot_entry():
    entry = systemd_boot.render_entry(TRIAL)
    assert "options root=UUID=1 ro vmapbench.trial=ab12\n" in entry


def test_the_command_line_is_the_hosts_without_what_is_its_own():
    known_good = (
        "BOOT_IMAGE=/boot/vmlinuz root=UUID=1 ro quiet splash console=ttyS0 panic=0 crashkernel=1G"
    )
    line = trial_command_line(known_good, ["panic=30"])
    assert line == "root=UUID=1 ro console=ttyS0 panic=30"


@pytest.mark.parametrize(
    "word", ["-- single", '"rdinit=/a b"', "sysctl.kernel.panic=0", "noinitrd", "initrdmem=1,2"]
)
def test_nothing_of_the_hosts_switches_the_guard_off(word):
    line = trial_command_line(f"ro {word}", ["rdinit=/vmapbench/guard"])
    assert line == "ro rdinit=/vmapbench/guard"


def test_what_stands_in_quotes_stays_whole():
    words = 'init=/nix/init dyndbg="file quiet.c +p" systemd.show_status=0'
    assert trial_command_line(words, ["panic=30"]) == f"{words} panic=30"


WORDS = st.lists(st.from_regex(r"[a-z.=0-9/]{1,12}", fullmatch=True), max_size=8)


@given(WORDS, st.integers(1, 9999), st.integers(1, 99999), st.integers(1, 600))
def test_ours_come_last_and_no_earlier_trial_is_left(words, confirm_s, lease_s, panic_s):
    ours = guard_parameters("ab", confirm_s, lease_s, panic_s)
    line = trial_command_line(" ".join(["vmapbench.trial=old", *words]), ours)
    assert line.endswith(" ".join(ours))
    assert line.count("vmapbench.trial=") == 1
