"""The verbs that read results, run as a user runs them."""

import json
from pathlib import Path

import pytest

from harness.records import BootRecord, JobRecord, RunRecord, Sample
from harness.run.observer import Observer
from harness.run.session import Session
from harness.store.store import open_store
from harness.verdict import Verdict


def fill(reports, run_id, factor=1.0, verdict=Verdict.PASSED, reason="", boots=6, name="smoke"):
    kernels = ("one-node", "per-cpu")
    jobs = [
        JobRecord(i, kernels[i % 2], "page", 4, 4, ({"nr_threads": 4},), i // 2, 1.0)
        for i in range(2 * boots)
    ]
    run = RunRecord(
        id=run_id,
        playbook="version: 1\n",
        plan={
            "name": name,
            "baseline": "one-node",
            "seed": 7,
            "question": "is it faster?",
            "kernels": kernels,
            "target": {"kind": "qemu"},
        },
        harness="0.1.0",
        host={"cpu": "a processor", "cores": 2},
        started_at=f"{run_id[:4]}-11-23T03:15:00+00:00",
        kernels={name: {"key": name * 4, "release": "6.12.1"} for name in kernels},
    )
    store = open_store(reports / "vmapbench.db")
    store.create_run(run, jobs)
    for job in jobs:
        time_us = int((4000 if job.kernel == "one-node" else 1000) * factor) + job.repeat
        samples = [Sample(w, "a_test", 1, 0, 0, 1, 10, time_us + w) for w in range(4)]
        last = job.position == len(jobs) - 1
        store.record_boot(
            run_id,
            BootRecord(
                position=job.position,
                verdict=verdict if last else Verdict.PASSED,
                reason=reason if last else "",
                load_ns=time_us * 1000,
                elapsed_s=1.0,
                started_at=run.started_at,
                folder=f"logs/{job.position}",
                samples=samples,
            ),
        )
    store.close()


@pytest.fixture
def reports(tmp_path, monkeypatch):
    """The reports folder of the calls."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "reports"


def test_without_results_the_verbs_say_how_to_make_some(vmapbench, reports):
    for arguments in (["list"], ["show", "latest"], ["export", "latest"], ["compare", "latest"]):
        done = vmapbench(*arguments)
        assert done.returncode == 2
        assert "`vmapbench run PLAYBOOK` makes some" in done.output
    assert not reports.exists()


def test_list_tells_whole_runs_from_those_that_can_go_on(vmapbench, reports):
    fill(reports, "2025-whole")
    fill(reports, "2026-part", verdict=Verdict.INTERRUPTED)
    done = vmapbench("list")
    assert done.returncode == 0
    whole, part = done.output.splitlines()[1:]
    assert "2025-whole" in whole
    assert "complete" in whole
    assert "2026-part" in part
    assert "unfinished" in part
    listed = json.loads(vmapbench("list", "--json").output)["runs"]
    assert [(run["id"], run["jobs"], run["done"]) for run in listed] == [
        ("2025-whole", 12, 12),
        ("2026-part", 12, 11),
    ]


def test_show_prints_every_boot_and_lets_no_log_drive_the_terminal(vmapbench, reports):
    fill(reports, "2025-x", verdict=Verdict.CRASHED, reason="[red]bad[/x]\x1b]0;t\x07")
    done = vmapbench("show", "latest")
    assert done.returncode == 0
    assert "[red]bad[/x]" in done.output
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert done.output.count("passed") == 11
    document = json.loads(vmapbench("show", "2025", "--json").output)
    assert document["boots"][-1]["verdict"] == "crashed"
    assert document["run"]["plan"]["question"] == "is it faster?"


def test_compare_within_a_run(vmapbench, reports):
    fill(reports, "2025-x")
    done = vmapbench("compare", "latest")
    assert done.returncode == 0
    assert "per-cpu" in done.output
    assert "faster" in done.output
    (found,) = json.loads(vmapbench("compare", "latest", "--json").output)["comparisons"].values()
    ratios = [row["ratio"] for row in found["rows"] if row["case"] == "a_test"]
    assert ratios == pytest.approx([4.0, 4.0], rel=0.01)


def test_compare_names_no_difference_below_the_smallest_effect_asked_for(vmapbench, reports):
    fill(reports, "2025-x")
    argv = ["compare", "latest", "--json", "--smallest-effect"]
    (found,) = json.loads(vmapbench(*argv, "500%").output)["comparisons"].values()
    words = {row["word"] for row in found["rows"] if row["case"] == "a_test"}
    assert words == {"alike"}, "four times as fast, where six times was asked for"
    assert "expected a share like 3% or 0.03" in vmapbench(*argv, "little").output


def test_compare_across_runs_takes_each_kernel_with_itself(vmapbench, reports):
    fill(reports, "2025-x")
    fill(reports, "2026-y", factor=2.0)
    for form in ((), ("--json",)):
        assert "nan" not in vmapbench("compare", "2025", "2026", *form).output.lower()
    found = json.loads(vmapbench("compare", "2025", "2026", "--json").output)["comparisons"]
    assert list(found) == [
        "one-node: 2026-y against 2025-x",
        "per-cpu: 2026-y against 2025-x",
    ]
    alone, held = found.values()
    assert {row["word"] for row in alone["rows"]} == {"not comparable"}
    assert "No verdict: sessions differ" in alone["notes"][0]
    assert [row["ratio"] for row in alone["rows"]] == pytest.approx([0.5] * 3, rel=0.01)
    assert {row["word"] for row in held["rows"]} == {"alike"}, (
        "twice as slow, and so is the baseline"
    )
    assert [row["ratio"] for row in held["rows"]] == pytest.approx([1.0] * 3, rel=0.01)


def test_export_writes_a_whole_file_or_none(vmapbench, reports, tmp_path):
    fill(reports, "2025-x")
    file = tmp_path / "run.csv"
    assert vmapbench("export", "latest", "--format", "csv", "-o", str(file)).returncode == 0
    assert len(file.read_text().splitlines()) == 1 + 12 * 4
    done = vmapbench("export", "latest", "-f", "xls", "-o", str(tmp_path / "no"))
    assert done.returncode == 2
    assert "expected one of csv, json" in done.output
    done = vmapbench("export", "latest", "-o", str(tmp_path / "none" / "x.json"))
    assert done.returncode == 2
    assert "cannot write" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reports", "run.csv"]
    assert json.loads(vmapbench("export", "latest").output)["format"] == "vmapbench-run"


PLAYBOOK = """
version: 1
kernels: [one-node, per-cpu]
baseline: one-node
target: {kind: qemu, cpus: 4}
workloads: [{name: page, parameters: {nr_threads: 4}}]
"""


def test_plan_judges_from_the_run_of_that_playbook_and_of_no_other(vmapbench, reports):
    (reports.parent / "smoke.yaml").write_text(PLAYBOOK)
    fill(reports, "2026-01-02-bisect-smoke", name="bisect-smoke")
    none = vmapbench("plan", "smoke.yaml")
    assert none.returncode == 2
    assert "playbook smoke has no run to plan from\n  next: vmapbench run smoke" in none.output
    fill(reports, "2025-01-02-night", name="smoke")
    planned = vmapbench("plan", "smoke.yaml", "--json")
    assert planned.returncode == 0, planned.output
    assert json.loads(planned.stdout)["pilot"] == "2025-01-02-night"


def test_plan_refuses_a_pilot_of_one_boot(vmapbench, reports):
    (reports.parent / "smoke.yaml").write_text(PLAYBOOK)
    fill(reports, "2025-x", boots=1)
    refused = vmapbench("plan", "smoke.yaml")
    assert refused.returncode == 2
    assert "no kernel with two boots that passed" in refused.output
    assert "next: run a pilot with `repeats: 5` or more" in refused.output


def test_the_way_to_go_on_names_the_folders_of_the_run():
    def options(kernels, reports):
        return Session(Path(kernels), Path(reports), Observer()).folder_options

    assert options("kernels", "reports") == ""
    assert options("my kernels", "/data/r") == " --kernels 'my kernels' --reports /data/r"
