import json
import re

import pytest

from harness.nightly.state import Claim, NightlyRecord, NightlyState, Notice, PairRecord

FILE = """\
version: 1
playbooks: [quick.yaml]
candidates:
  - {name: queue, patches: queue}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mm.yaml"
    path.write_text(FILE)
    return path


def test_install_shows_the_units_and_writes_them(vmapbench, file, tmp_path):
    folder = tmp_path / "units"
    said = vmapbench("nightly", file, "--install", "--to", folder)
    assert said.returncode == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["vmapbench-mm.service", "vmapbench-mm.timer"]
    for name in names:
        assert (folder / name).read_text() in said.stdout
    assert re.search(rf"ExecStart=.* nightly \S*{file.name} --quiet", said.stdout)
    assert "systemctl --user enable --now vmapbench-mm.timer" in said.stdout


def test_faults_of_the_file_have_lines(vmapbench, file):
    file.write_text(FILE.replace("patches: queue", "patch: queue"))
    said = vmapbench("nightly", file, "--dry-run")
    assert said.returncode == 2
    assert f"{file}:4: candidates.0" in said.stderr


def test_a_missing_playbook_is_an_input_error(vmapbench, file, tmp_path):
    said = vmapbench("nightly", file, "--dry-run", "--reports", tmp_path / "reports")
    assert said.returncode == 2
    assert "quick.yaml" in said.stderr
    assert not (tmp_path / "reports").exists()


def test_install_with_dry_run_only_shows(vmapbench, file, tmp_path):
    said = vmapbench("nightly", file, "--install", "--dry-run", "--to", tmp_path / "units")
    assert (said.returncode, "ExecStart=" in said.stdout) == (0, True)
    assert not (tmp_path / "units").exists()


@pytest.fixture
def kernels(tmp_path):
    (tmp_path / "quick.yaml").write_text(
        "version: 1\nkernels: [base]\nbaseline: base\ntarget: {kind: qemu, cpus: 2}\n"
        "workloads: [{name: w, parameters: {nr_threads: 2}, expected_s: 60}]\nrepeats: 3\n"
    )
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "base.config").write_text("CONFIG_SMP=y\n")
    (folder / "base.yaml").write_text(
        "version: 1\nsource: {tree: ../tree}\nfragments: [base.config]\n"
    )
    return folder


def test_a_dry_run_that_measures_nothing_says_so_by_its_exit_code(vmapbench, file, kernels):
    said = vmapbench("nightly", file, "--dry-run", "--kernels", kernels)
    assert said.returncode == 1
    assert f"not measured: queue: {file.parent}/queue does not exist" in said.stdout
    assert "access rights" not in said.stdout


def test_a_dry_run_checks_the_secrets_of_notices(vmapbench, file, kernels, monkeypatch):
    file.write_text(f"{FILE}notices: {{webhook: {{url_variable: HOOK}}}}\n")
    monkeypatch.delenv("HOOK", raising=False)
    said = vmapbench("nightly", file, "--dry-run", "--kernels", kernels)
    assert "notices: webhook: $HOOK is not set to an http or https URL" in said.stdout


def test_check_knows_nightly_files(vmapbench, file, kernels):
    said = vmapbench("check", file, "--kernels", kernels)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(f"{file}: good, 1 candidate, 3 boots of its playbooks")
    file.write_text(FILE.replace("patches: queue", "patch: queue"))
    said = vmapbench("check", file, "--kernels", kernels)
    assert said.returncode == 2
    assert f"{file}:4: candidates.0.patch: Extra inputs" in said.stderr


def test_the_status_says_what_waits_and_runs_nothing(vmapbench, file, tmp_path):
    words = ("nightly", file, "--status", "--reports", tmp_path / "reports")
    assert vmapbench(*words).stdout == "no nightly run yet\n"
    assert not (tmp_path / "reports").exists()
    state = NightlyState(tmp_path / "reports/nightly/mm/state.json")
    state.path.parent.mkdir(parents=True)
    state.nights.append(NightlyRecord("2026-01-01", "t", "t", "nightly mm 2026-01-01: 1 news"))
    state.pairs["a|quick"] = PairRecord("r", claim=Claim("run-1", "2026-01-01", "slower"))
    state.outbox.append(Notice("k", "b is faster", "x", "2026-01-01", to=["email"]))
    state.save()
    assert vmapbench(*words).stdout.splitlines() == [
        "nightly mm 2026-01-01: 1 news",
        "to be confirmed: a|quick: slower in run-1 of 2026-01-01, second run pending",
        "notice of 2026-01-01 not sent yet: b is faster",
    ]
    found = json.loads(vmapbench(*words, "--json").stdout)
    assert found["to_confirm"][0]["run_id"] == "run-1"
