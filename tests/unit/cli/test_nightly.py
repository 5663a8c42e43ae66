import re

import pytest

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
