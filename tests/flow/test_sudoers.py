"""The sudoers files that lab hosts are given, read by sudo's own parser."""

import subprocess

import pytest

from harness.spec.host import BOOT_METHODS, load_host_file
from harness.targets.ssh.boot_method import boot_method
from harness.targets.ssh.sudoers import render_sudoers

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
