"""Lab hosts for real: a Debian machine with GRUB and kexec, under trial kernels that fail in every
way. The harness reaches it over ssh and its power switch, and each time it must come home.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_box import LabBox, boot_text, ensure_image

KERNELS = Path(__file__).parents[2] / "kernels"
PATIENCE_S = 900  # of a test for one run of the harness, on a busy machine
# The same build as lab-vmap-nodes: its command line makes it fail.
FAULTS = {
    # No initial file system, so no guard, and a root= that only that would understand.
    "panics": ["initcall_blacklist=populate_rootfs"],
    # The same, but it waits for a disk that never comes: the guard never starts.
    "hangs": [
        "initcall_blacklist=populate_rootfs",
        "root=PARTUUID=00000000-01",
        "rootwait",
    ],
    "without-network": ["initcall_blacklist=virtio_net_driver_init"],
}
LOAD = {"nr_threads": 2, "run_test_mask": 1, "test_loop_count": 200}
LONG_LOAD = {**LOAD, "run_test_mask": 7, "test_loop_count": 40000}


class Bench:
    """The harness in a folder of its own, beside the box."""

    def __init__(self, folder: Path, box: LabBox):
        self.folder, self.box = folder, box
        (folder / "kernels").mkdir()
        for name in ("fragments", "patches"):
            (folder / "kernels" / name).symlink_to(KERNELS / name)
        for name in ("lab-vmap-nodes", "lab-single-node"):
            (folder / "kernels" / f"{name}.yaml").write_text((KERNELS / f"{name}.yaml").read_text())
        good = (KERNELS / "lab-vmap-nodes.yaml").read_text()
        for name, words in FAULTS.items():
            text = f"{good}boot_parameters: {json.dumps(words)}\n"
            (folder / "kernels" / f"{name}.yaml").write_text(text)
        (folder / "playbooks" / "hosts").mkdir(parents=True)
        self.connect_to_box()

    def connect_to_box(self, method="kexec", tuning="generic-x86", **more):
        """Write the hosts file."""
        text = self.box.host_text(boot=boot_text(method), tuning=tuning, **more)
        (self.folder / "playbooks" / "hosts" / "box.yaml").write_text(text)

    def playbook(self, *kernels, load=LOAD, repeats=1):
        """Write a playbook and return its path."""
        book = {
            "version": 1,
            "question": "Does the host come back?",
            "kernels": kernels,
            "baseline": kernels[0],
            "target": {"kind": "ssh", "host": "box", "cpus": 2},
            "workloads": [{"name": "short", "parameters": load, "expected_s": 30}],
            "repeats": repeats,
            "seed": 1,
        }
        file = self.folder / "book.yaml"
        file.write_text(json.dumps(book))
        return file

    def argv(self, *words):
        return [sys.executable, "-m", "harness.cli.main", *map(str, words)]

    def start(self, *words):
        """Start the harness; its output goes to a file."""
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.folder / "harness.log").open("a") as log:
            return subprocess.Popen(
                self.argv(*words), cwd=self.folder, env=env, stdout=log, stderr=log
            )

    def run(self, *words):
        """Run the harness to its end; return its exit status and what it has printed since."""
        log = self.folder / "harness.log"
        before = log.stat().st_size if log.exists() else 0
        process = self.start(*words)
        try:
            status = process.wait(PATIENCE_S)
        finally:
            process.kill()
        return status, log.read_text()[before:]

    def boots(self):
        """Return the records of the latest run's boots."""
        latest = json.loads((self.folder / "reports" / "latest" / "results.json").read_text())
        return latest["boots"]

    def wait_for_phase(self, process, words):
        """Wait until the harness has reached a phase; its console log tells."""
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.seen():
            assert process.poll() is None, (self.folder / "harness.log").read_text()
            assert time.monotonic() < deadline, f"never: {words}"
            time.sleep(0.3)

    def seen(self):
        """Return what trial kernels have said so far."""
        files = (self.folder / "reports").glob("*/logs/*/console.log")
        return "".join(file.read_text(errors="replace") for file in sorted(files))

    def is_home(self):
        """Assert that the box runs its own kernel, armed with nothing, free, and as it was."""
        with contextlib.closing(self.box.as_root()) as shell:
            while "vmapbench.trial" in (line := shell.run(["cat", "/proc/cmdline"]).stdout):
                raise AssertionError(f"still in a trial: {line}")
            assert "cloud" in shell.run(["uname", "-r"]).stdout
            assert shell.run(["cat", "/sys/kernel/kexec_loaded"]).stdout.strip() == "0"
            environment = shell.run(["grub-editenv", "/boot/grub/grubenv", "list"]).stdout
            assert "next_entry=vmapbench" not in environment
            assert shell.run(["test", "-e", "/var/lib/vmapbench/lock"]).returncode
            timers = shell.run(["systemctl", "list-units", "vmapbench-restore*"]).stdout
            assert "vmapbench-restore" not in timers
        return True


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    return ensure_image(tmp_path_factory.mktemp("settling"))


@pytest.fixture(scope="module")
def box(image, tmp_path_factory):
    """One machine for all tests: each must leave it as it found it."""
    box = LabBox(image, tmp_path_factory.mktemp("box"))
    try:
        box.allow(*(box.host(method, boot=boot_text(method)) for method in ("kexec", "grub")))
        yield box
    finally:
        box.stop()


@pytest.fixture
def bench(box, tmp_path):
    return Bench(tmp_path, box)


def verdicts(bench):
    return [boot["verdict"] for boot in bench.boots()]


@pytest.mark.parametrize("method", ["kexec", "grub"])
def test_the_whole_cycle_on_both_kernels(bench, method):
    bench.connect_to_box(method)
    status, said = bench.run("run", bench.playbook("lab-single-node", "lab-vmap-nodes"))
    assert status == 0, said
    boots = bench.boots()
    assert {boot["verdict"] for boot in boots} == {"passed"}
    nodes = {"vmap_nodes=1" in boot["facts"]["argv"] for boot in boots}
    assert nodes == {True, False}
    for boot in boots:
        facts = boot["facts"]
        assert facts["inventory"]["kernel"].startswith("6.12")
        assert facts["tuning"]["knobs"]["address_randomisation"] == {
            "wanted": "0",
            "state": "set",
            "before": "2",
            "now": "0",
        }
        assert facts["tuning"]["knobs"]["governor"]["state"] == "absent"
    assert boots[0]["facts"]["conditions"] == boots[1]["facts"]["conditions"]
    assert bench.is_home()
