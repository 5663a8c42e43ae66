"""The harness in a folder of its own beside a lab host in a box, for the tests of lab hosts."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

from harness.build.cache import cache_folder
from harness.process import SubprocessRunner
from harness.targets.ssh.spec import SshSpec
from harness.targets.ssh.target import make_target
from tests.e2e.lab_box import LabBox

KERNELS = Path(__file__).parents[2] / "kernels"
# The same build as lab-vmap-nodes: its command line makes it fail.
FAULTS = {
    # No initial file system, so no guard, and a root= that only that would understand.
    "panics": ["initcall_blacklist=populate_rootfs"],
    # The same, but it waits for a disk that never comes: the guard never starts.
    "hangs": [
        "initcall_blacklist=populate_rootfs",
        "root=/dev/sdz1",
        "rootwait",
    ],
    "without-network": ["initcall_blacklist=virtio_net_driver_init"],
}
LOAD = {"nr_threads": 2, "run_test_mask": 1, "test_loop_count": 200}
LONG_LOAD = {**LOAD, "run_test_mask": 7, "test_loop_count": 30000}


class Bench:
    """The harness in a folder of its own, beside the box."""

    def __init__(self, folder: Path, box: LabBox, start):
        self.folder, self.box, self._start = folder, box, start
        self.trials_before = 0
        (folder / "kernels").mkdir()
        for name in ("fragments", "patches"):
            (folder / "kernels" / name).symlink_to(KERNELS / name)
        self.machine = box.image.machine
        for name in self.machine.kernels:
            (folder / "kernels" / f"{name}.yaml").write_text((KERNELS / f"{name}.yaml").read_text())
        good = (KERNELS / f"{self.machine.kernels[0]}.yaml").read_text()
        for name, words in FAULTS.items():
            text = f"{good}boot_parameters: {json.dumps(words)}\n"
            (folder / "kernels" / f"{name}.yaml").write_text(text)
        (folder / "playbooks" / "hosts").mkdir(parents=True)
        self.connect_to_box()

    def connect_to_box(self, method="kexec", **more):
        """Write the host file."""
        text = self.box.host_text(
            boot=self.box.boot_text(method), tuning=self.machine.tuning, **more
        )
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

    def target(self):
        """Return the box as a target of this process; the host file is found from the folder."""
        spec = SshSpec(kind="ssh", host="box", cpus=2)
        return make_target(spec, cache_folder(), SubprocessRunner(), self.machine.arch)

    def argv(self, *words):
        return [sys.executable, "-m", "harness.cli.main", *map(str, words)]

    def start(self, *words):
        """Start the harness; its output goes to a file."""
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self.folder / "harness.log").open("a") as log:
            return self._start(self.argv(*words), cwd=self.folder, env=env, stdout=log, stderr=log)

    def run(self, *words):
        """Run the harness to its end; return its exit status and what it has printed since."""
        log = self.folder / "harness.log"
        before = log.stat().st_size if log.exists() else 0
        status = self.start(*words).wait()
        return status, log.read_text()[before:]

    def whole_cycle(self):
        """Boot each kernel by another boot method; return the records of both boots.

        To both the machine is the same, and it is back on its known-good kernel.
        """
        boots = []
        for method, kernel in zip(("kexec", "grub"), self.machine.kernels, strict=True):
            self.connect_to_box(method)
            status, said = self.run("run", self.playbook(kernel))
            assert status == 0, said
            boots += self.boots()
        assert [boot["verdict"] for boot in boots] == ["passed", "passed"]
        assert ["vmap_nodes=1" in boot["facts"]["argv"] for boot in boots] == [False, True]
        assert all(boot["facts"]["inventory"]["kernel"].startswith("6.12") for boot in boots)
        assert boots[0]["facts"]["conditions"] == boots[1]["facts"]["conditions"]
        assert self.on_known_good()
        return boots

    def fails_at_boot(self, kernel, verdict, said_last):
        """Run a kernel that fails at boot: what it said last, the serial line tells, is kept."""
        self.connect_to_box(console=json.dumps(["tail", "-n", "0", "-F", str(self.box.serial)]))
        status, said = self.run("run", self.playbook(kernel))
        assert status == 1, said
        assert [boot["verdict"] for boot in self.boots()] == [verdict], self.boots()[0]["reason"]
        assert said_last in self.seen()
        assert self.on_known_good()

    def results(self):
        """Return the results of the latest run."""
        return json.loads((self.folder / "reports" / "latest" / "results.json").read_text())

    def boots(self):
        """Return the records of the latest run's boots."""
        return self.results()["boots"]

    def wait_until(self, process, reached):
        """Wait until `reached()`, while the harness runs."""
        while not reached():
            assert process.poll() is None, (self.folder / "harness.log").read_text()
            time.sleep(0.2)

    def staging(self):
        """Whether files of a trial have arrived on the box."""
        with contextlib.closing(self.box.as_root()) as shell:
            return not shell.run(["test", "-e", "/var/cache/vmapbench"]).returncode

    def trials(self):
        """How many trials there were."""
        return self.seen().count("---- vmapbench: trial")

    def booting(self):
        """Whether a new trial has begun."""
        return self.trials() > self.trials_before

    def testing(self):
        """Whether a new trial has come to loading the module: confirmed a second time."""
        return (
            self.booting()
            and self.seen().rpartition("---- vmapbench: trial")[2].count("confirmed, for") > 1
        )

    def seen(self):
        """Return what trial kernels have said so far, the latest last."""
        files = (self.folder / "reports").glob("*/logs/*/console.log")
        return "".join(file.read_text(errors="replace") for file in sorted(files, key=_written))

    def on_known_good(self):
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


def _written(file):
    return file.stat().st_mtime
