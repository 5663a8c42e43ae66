from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.spec.host import BOOT_METHODS, BootSpec
from harness.targets.ssh.boot import grub
from harness.targets.ssh.boot_method import boot_method, guard_parameters, trial_command_line


@pytest.mark.parametrize("name", BOOT_METHODS)
def test_every_method_has_its_part_of_the_helper(name):
    method = boot_method(BootSpec(method=name))
    part = import_module(type(method).__module__).HELPER
    assert method.name == name
    for verb in ("arm", "disarm", "armed", "inspect", "start"):
        assert f"\n{name.replace('-', '_')}_{verb}() {{" in part


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
