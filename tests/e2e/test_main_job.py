"""The command of the README, as a user types it: real builds, real boots, a real page."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.store.store import open_store

REPOSITORY = Path(__file__).parents[2]
SMALL = """
version: 1
kernels: [single-node, node-limit]
baseline: single-node
target: {kind: qemu, cpus: 2, accelerator: tcg}
workloads:
  - name: small
    parameters: {nr_threads: 2, run_test_mask: 3, test_loop_count: 300}
    expected_s: 20
repeats: 3
seed: 5
noise: {other_share: 100, steal_share: 100, throttles: 1000000}
"""


@pytest.fixture
def playbook(tmp_path, built):
    built("single-node"), built("node-limit")
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


def command(*words):
    return [sys.executable, "-m", "harness.cli.main", *map(str, words)]


def vmapbench(*words, expect=0, env=None):
    done = subprocess.run(
        command(*words),
        cwd=REPOSITORY,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def started(start):
    """Starts the command in a process group of its own, so that Ctrl-C reaches it alone."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return lambda *words: start(command(*words), cwd=REPOSITORY, start_new_session=True, **pipes)


def boots_kept(reports):
    if not (reports / "vmapbench.db").exists():
        return 0
    store = open_store(reports / "vmapbench.db")
    runs = store.list_runs()
    store.close()
    return int(runs.boots.sum())


def wait_for_boots(reports, count, process):
    while boots_kept(reports) < count:
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.2)


def qemus(folder):
    """Return how many QEMUs run for the boots below `folder`."""
    pattern = f"qemu-system.*{re.escape(str(folder))}"
    found = subprocess.run(["pgrep", "-fc", pattern], capture_output=True, check=False)
    return int(found.stdout or 0)


def test_a_run_leaves_everything_that_its_page_says(playbook, tmp_path):
    reports = tmp_path / "reports"
    done = vmapbench("run", playbook, "--reports", reports)
    assert "page: " in done.stdout
    folder = (reports / "latest").resolve()
    document = json.loads((folder / "results.json").read_text())
    assert document["version"] == 1
    rows = list(csv.DictReader((folder / "samples.csv").read_text().splitlines()))
    assert len(rows) == 6 * 2 * 2  # boots x workers x cases
    assert {row["case"] for row in rows} == {"fix_size_alloc_test", "full_fit_alloc_test"}
    logs = sorted((folder / "logs").iterdir())
    assert len(logs) == 6
    assert all((log / "console.log").exists() and (log / "command.txt").exists() for log in logs)
    assert sorted(p.name for p in (folder / "configs").iterdir()) == [
        "node-limit.config",
        "single-node.config",
    ]
    page = (folder / "index.html").read_text()
    assert "single-node" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    before = (folder / "results.json").read_bytes()
    vmapbench("report", "latest", "--reports", reports)
    assert (folder / "results.json").read_bytes() == before


def test_a_run_that_never_had_a_quiet_host_fails_and_says_what_to_do(playbook, tmp_path, start):
    text = playbook.read_text().replace("repeats: 3", "repeats: 1")
    playbook.write_text(text.replace("other_share: 100", "other_share: 0.05"))
    start([sys.executable, "-c", "while True: pass"])
    done = vmapbench("run", playbook, "--reports", tmp_path / "reports", expect=1)
    assert "can be compared with" in done.stdout
    at_once, *_, at_the_end = done.stderr.split("what helps:")
    assert at_once.count(": noisy (") == 1  # said after the first noisy boot, and at the end
    assert re.search(r"other programs used \d+% of the CPU time \(.*python\S* \d+%", at_once)
    assert re.search(r"write  noise: \{other_share: [\d.]+\}", at_the_end)
    assert re.search(r"never had a quiet host: by .*python", " ".join(done.stdout.split()))


def test_a_run_of_which_nothing_boots_stops_after_two_boots_with_a_diagnosis(playbook, tmp_path):
    text = playbook.read_text().replace(
        "accelerator: tcg",
        "accelerator: tcg, boot_parameters: [initcall_blacklist=populate_rootfs]",
    )
    playbook.write_text(text)
    done = vmapbench("run", playbook, "--reports", tmp_path / "reports", expect=1)
    assert done.stderr.count(", small: ") == 2
    words = " ".join(done.stdout.split())
    assert "none of the 2 boots tried reached init" in words
    assert "the kernel crashed before init" in words
    assert "single-node and node-limit fail alike" in words
    assert boots_kept(tmp_path / "reports") == 6  # four of them left out


def test_a_kernel_that_leaves_cpus_alone_is_no_sample(playbook, tmp_path):
    text = playbook.read_text().replace("repeats: 3", "repeats: 1")
    playbook.write_text(text.replace("cpus: 2,", "cpus: 2, boot_parameters: [maxcpus=1],"))
    reports = tmp_path / "reports"
    vmapbench("run", playbook, "--reports", reports, expect=1)
    boots = json.loads((reports / "latest" / "results.json").read_text())["boots"]
    assert {boot["verdict"] for boot in boots} == {"incomplete log"}
    assert {boot["reason"] for boot in boots} == {"the kernel runs on 1 of 2 CPUs, see its log"}


def test_ctrl_c_keeps_a_valid_partial_result_and_no_qemu(playbook, tmp_path, started):
    reports = tmp_path / "reports"
    process = started("run", playbook, "--reports", reports)
    wait_for_boots(reports, 2, process)
    os.kill(process.pid, signal.SIGINT)
    output = process.communicate()[0].decode()
    assert process.returncode == 130, output
    assert "run --resume" in output
    assert qemus(tmp_path) == 0
    assert (reports / "latest" / "index.html").exists()
    done = vmapbench("run", "--resume", "latest", "--reports", reports)
    assert boots_kept(reports) == 6, done.stderr


def test_killed_at_any_moment_a_run_goes_on_and_loses_nothing(playbook, tmp_path, started):
    reports = tmp_path / "reports"
    moments = random.Random(1)
    process = started("run", playbook, "--reports", reports)
    wait_for_boots(reports, 1, process)
    kept = boots_kept(reports)
    for _ in range(4):
        time.sleep(moments.uniform(0, 4))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert boots_kept(reports) >= kept
        kept = boots_kept(reports)
        process = started("run", "--resume", "latest", "--reports", reports)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    store = open_store(reports / "vmapbench.db")
    boots = store.boots_frame(store.resolve("latest"))
    store.close()
    assert sorted(boots[boots.verdict == "passed"].position) == [0, 1, 2, 3, 4, 5]
    assert qemus(tmp_path) == 0


def test_dry_run_prints_every_command_and_does_nothing(playbook, tmp_path):
    reports = tmp_path / "reports"
    done = vmapbench("run", playbook, "--reports", reports, "--dry-run")
    assert done.stdout.count("qemu-system-x86_64") == 6
    assert done.stdout.count("vmap_nodes=1") == 3
    assert not reports.exists()


def test_a_bad_parameter_is_refused_before_any_boot(playbook, tmp_path):
    playbook.write_text(SMALL.replace("nr_threads: 2", "nr_thread: 2"))
    done = vmapbench("run", playbook, "--reports", tmp_path / "reports", expect=2)
    assert (
        "nr_thread: not a parameter of test_vmalloc; expected one of nr_pages, nr_threads"
        in done.stderr
    )
    assert boots_kept(tmp_path / "reports") == 0


def test_faults_of_a_playbook_have_line_numbers(playbook):
    playbook.write_text(SMALL.replace("repeats: 3", "repeats: 0").replace("cpus: 2", "cpus: two"))
    done = vmapbench("check", playbook, expect=2)
    assert f"{playbook}:5: target.qemu.cpus" in done.stderr
    assert f"{playbook}:10: repeats" in done.stderr


SIMULATED = """
version: 1
kernels: [single-node, node-limit]
baseline: single-node
target: {kind: simulated, cpus: 2}
workloads:
  - name: small
    parameters: {nr_threads: 2, run_test_mask: 1, test_loop_count: 300}
    expected_s: 20
repeats: 2
"""


def times(reports):
    """The times of the latest run, without what tells one run from another."""
    rows = csv.DictReader((reports / "latest" / "samples.csv").read_text().splitlines())
    return sorted((row["kernel"], row["worker"], row["avg_us"]) for row in rows)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core simulates one machine")
def test_simulated_machines_side_by_side_give_what_each_gives_alone(built, tmp_path, started):
    built("single-node"), built("node-limit")
    playbook = tmp_path / "small.yaml"
    playbook.write_text(SIMULATED)
    together, alone = tmp_path / "small-together", tmp_path / "small-alone"
    process = started("run", playbook, "--reports", together)
    while qemus(tmp_path) < 2:
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output = process.communicate()[0].decode()
    assert process.returncode == 130, output
    assert qemus(tmp_path) == 0
    vmapbench("run", "--resume", "latest", "--reports", together)
    core = min(os.sched_getaffinity(0))
    argv = ["taskset", "-c", str(core), *command("run", playbook, "--reports", alone)]
    subprocess.run(argv, cwd=REPOSITORY, capture_output=True, check=True)
    assert len(times(alone)) == 2 * 2 * 2
    assert times(together) == times(alone)


def test_where_qemu_is_too_old_to_simulate_the_fallback_runs(tmp_path, playbook):
    """A stand-in gives the version of another release; it starts the real QEMU all the same."""
    old = tmp_path / "old" / "qemu-system-x86_64"
    old.parent.mkdir()
    real = shutil.which("qemu-system-x86_64")
    old.write_text(
        "#!/bin/sh\n"
        '[ "$1" != --version ] || { echo "QEMU emulator version 8.2.2"; exit; }\n'
        f'exec {real} "$@"\n'
    )
    old.chmod(0o755)
    demo = tmp_path / "demo.yaml"
    text = SMALL.replace("kind: qemu, cpus: 2, accelerator: tcg", "kind: simulated, cpus: 2")
    demo.write_text(text.replace("repeats: 3", "repeats: 1") + "fallback: small\n")
    slow_host = SMALL.replace("expected_s: 20", "expected_s: 300")
    playbook.write_text(slow_host.replace("repeats: 3", "repeats: 1"))
    path = {"PATH": f"{old.parent}:{os.environ['PATH']}"}
    done = vmapbench("run", demo, "--reports", tmp_path / "reports", env=path)
    assert "QEMU 9.2.0 or newer" in done.stderr
    assert f"running {playbook} instead" in done.stderr
    assert "-small-" in done.stdout.splitlines()[-1]
    demo.write_text(text)  # without a fallback
    done = vmapbench("run", demo, "--reports", tmp_path / "reports", env=path, expect=3)
    assert "QEMU 9.2.0 or newer" in done.stderr
