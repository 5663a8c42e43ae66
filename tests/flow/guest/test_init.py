"""The guest's init on this machine's kernel: process 1 of a namespace, in a folder as its root."""

import os
import shutil
import subprocess

import pytest

from harness.guest.frames import parse_frames
from harness.guest.initramfs import ensure_init, memory_lines
from harness.targets.outcome import Ending, judge_guest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare"
)


def carried_out(tmp_path, runner, *lines):
    """Return what init reports of the script `lines`, as text."""
    for folder in ("proc", "sys", "vmapbench"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    (tmp_path / "root/dev").touch()  # no folder, so that the machine's devices stay out of it
    shutil.copy(ensure_init(tmp_path, runner), tmp_path / "root/init")
    script = ["report /dev/none", "nonce n", *lines, ""]
    (tmp_path / "root/vmapbench/script").write_text("\n".join(script))
    argv = ["unshare", "--fork", "--pid", "--mount", "--propagation", "private"]
    argv += ["chroot", str(tmp_path / "root"), "/init"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def may_be_real_time():
    """Whether this process may: a control group without a real-time budget refuses it."""
    argv = ["chrt", "--fifo", "1", "true"]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_be_real_time(), reason="no real-time policy in this control group")
def test_tasks_become_real_time_by_their_names(tmp_path, runner):
    shown = carried_out(tmp_path, runner, "realtime init", "collect /proc/1/stat")
    fields = shown.split("begin /proc/1/stat>>\n")[1].rpartition(")")[2].split()
    assert "error" not in shown
    assert fields[41 - 3] == str(os.SCHED_FIFO)  # proc(5): policy is field 41, state the third


def test_a_name_that_no_task_has_is_an_error(tmp_path, runner):
    assert "realtime kworker/: no such task" in carried_out(tmp_path, runner, "realtime kworker/")


def test_the_memory_of_a_moment_is_read_from_a_real_kernel(tmp_path, runner):
    shown = carried_out(tmp_path, runner, *memory_lines("before", lazily_freed=True))
    facts = judge_guest(parse_frames(shown.encode(), "n"), "", Ending.POWERED_OFF, 0, 1.0).facts
    assert facts["errors"] == []
    (reading,) = facts["memory"]
    assert reading["moment"] == "before"
    assert sum(reading["free_blocks"]) > 0
    assert len(reading["free_blocks"]) == len(reading["free_blocks_by_type"]["Movable"])
    assert reading["meminfo_kib"]["MemTotal"] > 0
    assert "nr_page_table_pages" in reading["vmstat"]
