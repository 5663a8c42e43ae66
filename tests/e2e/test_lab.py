"""Lab hosts for real: a Debian machine with GRUB and kexec, under trial kernels that fail in every
way. The harness reaches it over ssh and its power switch, and each time it must come home.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from lab_box import LabBox, ensure_image

from harness.build.cache import cache_folder
from harness.process import SubprocessRunner
from harness.spec.playbook import SshTarget
from harness.targets.base import BootRequest
from harness.targets.ssh import make_target
from harness.targets.ssh.transport import HostShell
from harness.targets.ssh.tuning import apply_tuning
from harness.verdict import Verdict

KERNELS = Path(__file__).parents[2] / "kernels"
PATIENCE_S = 1800  # of a test for one run of the harness, on a busy machine
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
KNOBS = ("/proc/sys/kernel/randomize_va_space", "/sys/kernel/mm/transparent_hugepage/enabled")
LOAD = {"nr_threads": 2, "run_test_mask": 1, "test_loop_count": 200}
LONG_LOAD = {**LOAD, "run_test_mask": 7, "test_loop_count": 30000}


class Bench:
    """The harness in a folder of its own, beside the box."""

    def __init__(self, folder: Path, box: LabBox):
        self.folder, self.box = folder, box
        self.trials_before = 0
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
        text = self.box.host_text(boot=self.box.boot_text(method), tuning=tuning, **more)
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
        """Return the box as a target of this process; the hosts file is found from the folder."""
        spec = SshTarget(kind="ssh", host="box", cpus=2)
        return make_target(spec, cache_folder(), SubprocessRunner())

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

    def wait_until(self, process, reached):
        """Wait until `reached()`, while the harness runs."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert process.poll() is None, (self.folder / "harness.log").read_text()
            assert time.monotonic() < deadline, self.box.last_words()
            time.sleep(0.2)

    def staging(self):
        """Whether files of a trial have arrived on the box."""
        with contextlib.closing(self.box.as_root()) as shell:
            return not shell.run(["test", "-e", "/var/lib/vmapbench/trial"]).returncode

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


def _written(file):
    return file.stat().st_mtime


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    return ensure_image(tmp_path_factory.mktemp("settling"))


@pytest.fixture(scope="module")
def box(image, tmp_path_factory):
    """One machine for all tests: each must leave it as it found it."""
    box = LabBox(image, tmp_path_factory.mktemp("box"))
    try:
        box.as_root().close()
        methods = ("kexec", "grub")
        box.allow(*(box.host(method, boot=box.boot_text(method)) for method in methods))
        yield box
    finally:
        box.stop()


@pytest.fixture
def bench(box, tmp_path):
    return Bench(tmp_path, box)


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


@pytest.mark.parametrize(
    ("kernel", "verdict", "words"),
    [
        ("panics", "crashed", "Unable to mount root"),
        ("without-network", "no boot", "nobody confirmed this kernel"),
        ("hangs", "no boot", "Waiting for root device"),
    ],
)
def test_a_kernel_that_fails_at_boot(bench, kernel, verdict, words):
    """What it said last is kept, though only the serial line can tell."""
    console = json.dumps(["tail", "-n", "0", "-F", str(bench.box.serial)])
    bench.connect_to_box(console=console)
    status, said = bench.run("run", bench.playbook(kernel))
    assert status == 1, said
    assert [boot["verdict"] for boot in bench.boots()] == [verdict], bench.boots()[0]["reason"]
    assert words in bench.seen()
    assert bench.is_home()


def test_a_module_that_oopses(bench, built, tmp_path, monkeypatch):
    monkeypatch.chdir(bench.folder)
    kernel = built("lab-vmap-nodes")
    module = tmp_path / "test_vmalloc.ko"
    module.write_bytes(with_undefined_instruction(kernel.module))
    target = bench.target()
    folder = tmp_path / "boot"
    folder.mkdir()
    with contextlib.closing(target):
        target.check()
        request = BootRequest(replace(kernel, module=module), 2, ("nr_threads=2",), 512, 30, folder)
        result = target.boot(request, lambda _: None)
    assert result.verdict is Verdict.CRASHED, result.reason
    assert "invalid opcode" in (folder / "console.log").read_text()
    assert bench.is_home()


def with_undefined_instruction(module):
    """Return a module whose init function begins with UD2, clear of what the loader relocates."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        (init,) = elf.get_section_by_name(".symtab").get_symbol_by_name("init_module")
        index = init["st_shndx"]
        section = elf.get_section(index)
        moved = {
            relocation["r_offset"]
            for relocations in elf.iter_sections("SHT_RELA")
            if relocations["sh_info"] == index
            for relocation in relocations.iter_relocations()
        }
    start = init["st_value"]
    at = start + 5 if start + 1 in moved else start  # a call to be traced comes first
    content = bytearray(module.read_bytes())
    content[section["sh_offset"] + at : section["sh_offset"] + at + 2] = b"\x0f\x0b"
    return bytes(content)


def test_a_connection_that_is_cut_in_mid_run_costs_nothing(bench):
    process = bench.start("run", bench.playbook("lab-vmap-nodes", load=LONG_LOAD))
    bench.wait_until(process, bench.testing)
    bench.box.link(up=False)
    bench.wait_until(process, lambda: "---- vmapbench: " in bench.seen().rpartition("] ")[2])
    bench.box.link(up=True)
    assert process.wait(PATIENCE_S) == 0, (bench.folder / "harness.log").read_text()
    assert [boot["verdict"] for boot in bench.boots()] == ["passed"]
    assert "---- vmapbench: connected again" in bench.seen()
    assert bench.is_home()


def test_a_reboot_in_the_middle_is_no_result(bench):
    process = bench.start("run", bench.playbook("lab-vmap-nodes", load=LONG_LOAD))
    bench.wait_until(process, bench.testing)
    bench.box.qmp("system_reset")
    assert process.wait(PATIENCE_S) == 0, (bench.folder / "harness.log").read_text()
    assert [boot["verdict"] for boot in bench.boots()] == ["interrupted", "passed"]
    assert bench.is_home()


def test_killed_in_each_phase_then_resumed(bench):
    book = bench.playbook("lab-vmap-nodes", load=LONG_LOAD)
    phases = (bench.staging, bench.booting, bench.testing)
    with contextlib.closing(bench.box.as_root()) as shell:  # what the trial before has left
        shell.run(["rm", "-rf", "/var/lib/vmapbench/trial"], check=True)
    for number, reached in enumerate(phases):
        bench.trials_before = bench.trials()
        process = bench.start(*(["run", book] if number == 0 else ["run", "--resume", "latest"]))
        bench.wait_until(process, reached)
        process.send_signal(signal.SIGKILL)
        process.wait()
    status, said = bench.run("run", "--resume", "latest")
    assert status == 0, said
    assert [boot["verdict"] for boot in bench.boots()] == ["passed"]
    assert bench.is_home()


def test_a_second_harness_is_turned_away(bench, monkeypatch):
    monkeypatch.chdir(bench.folder)
    with contextlib.closing(bench.target()) as target:
        target.check()
        status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
        assert status == 2, said
        assert "held by" in said
    assert bench.is_home()


def test_knobs_come_back_without_the_harness(bench):
    """systemd on the host restores what a harness that is gone has set."""
    spec = bench.box.host("kexec")
    with contextlib.closing(HostShell(spec)) as shell:
        before = shell.run(["cat", *KNOBS]).stdout
        tuned = apply_tuning(shell, spec.state, "generic-x86", lease_s=20)
        assert {knob.name: knob.now for knob in tuned.knobs}["address_randomisation"] == "0"
        assert shell.run(["cat", *KNOBS]).stdout != before
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.closing(HostShell(spec)) as shell:
        while shell.run(["cat", *KNOBS]).stdout != before:
            assert time.monotonic() < deadline, shell.run(["cat", *KNOBS]).stdout
            time.sleep(1)
    assert bench.is_home()


def test_a_full_disk_is_said_before_any_boot(bench):
    fill = "/var/lib/vmapbench/fill"
    with contextlib.closing(bench.box.as_root()) as shell:
        free = int(shell.run(["df", "-m", "--output=avail", "/"]).stdout.split()[-1])
        shell.run(["fallocate", "-l", f"{free - 40}M", fill], check=True)
        try:
            status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
        finally:
            shell.run(["rm", "-f", fill], check=True)
    assert status == 2, said
    assert "MiB free at /var/lib/vmapbench" in said
    assert bench.is_home()


def test_a_host_with_another_key_is_not_spoken_to(bench):
    wrong = bench.folder / "wrong"
    key = (bench.box.image.folder / "user_key.pub").read_text().split()
    wrong.write_text(f"[127.0.0.1]:{bench.box.port} {key[0]} {key[1]}\n")
    bench.connect_to_box(known_hosts=str(wrong))
    status, said = bench.run("run", bench.playbook("lab-vmap-nodes"))
    assert status == 2, said
    assert "it shows the key ED25519 SHA256:" in said
    assert bench.is_home()
