"""The sudoers files that lab hosts are given, read by sudo's own parser."""

import os
import re
import subprocess

import pytest

from harness.spec.host import BOOT_METHODS, load_host_file
from harness.targets.ssh.boot_method import boot_method
from harness.targets.ssh.sudoers import file_pattern, render_sudoers

VISUDO = "/usr/sbin/visudo"


def read_by_sudo(text, folder):
    (folder / "sudoers").write_text(text)
    argv = [VISUDO, "--check", "--file", str(folder / "sudoers")]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("method", BOOT_METHODS)
def test_sudo_understands_the_file_of_each_boot_method(method, tmp_path):
    (tmp_path / "box.yaml").write_text(f"version: 1\naddress: box\nboot: {{method: {method}}}\n")
    spec = load_host_file(tmp_path / "box.yaml")
    text = render_sudoers(spec, boot_method(spec.boot), "bench")
    done = read_by_sudo(text, tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_by_sudo(text.replace("NOPASSWD:", "NOPASSWD"), tmp_path).returncode != 0


PSTORE, INITRD = ("--", "/sys/fs/pstore/*"), ("/boot/initrd.img-*",)
CASES = [
    (PSTORE, "-- /sys/fs/pstore/dmesg-efi-1", True),
    (PSTORE, "-- /sys/fs/pstore/1700000000/dmesg.txt", True),
    (PSTORE, "-- /sys/fs/pstore/../../../etc/shadow", False),
    (PSTORE, "-- /sys/fs/pstore/a/../../../../etc/shadow", False),
    (PSTORE, "-- /sys/fs/pstore/dmesg-efi-1 /etc/shadow", False),
    (INITRD, "/boot/initrd.img-6.12.0-1-amd64", True),
    (INITRD, "/boot/initrd.img-x /etc/shadow", False),
    (INITRD, "/boot/initrd.img-x/../../etc/shadow", False),
    (INITRD, "/boot/initrdximg-x", False),
]


@pytest.mark.parametrize(("words", "asked", "allowed"), CASES)
def test_only_the_files_that_are_meant_can_be_read(words, asked, allowed):
    assert bool(re.fullmatch(file_pattern(words)[1:-1], asked)) is allowed


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo reads another file only for root")
@pytest.mark.parametrize(("words", "asked", "allowed"), CASES)
def test_sudo_itself_allows_no_other_file(tmp_path, words, asked, allowed):
    (tmp_path / "box.yaml").write_text("version: 1\naddress: box\n")
    spec = load_host_file(tmp_path / "box.yaml")
    text = render_sudoers(spec, boot_method(spec.boot), "nobody")
    file = tmp_path / "sudoers"
    file.write_text("root ALL=(ALL:ALL) ALL\n" + text)
    file.chmod(0o440)
    look = f"mount --bind {file} /etc/sudoers && sudo -n -l -U nobody -- cat {asked}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", look], capture_output=True, text=True, check=False
    )
    assert "mount" not in done.stderr, done.stderr
    assert (done.returncode == 0) is allowed, done.stderr
