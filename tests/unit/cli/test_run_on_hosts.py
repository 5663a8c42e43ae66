"""Plans for lab hosts, as a user asks for them; nothing is reached."""

import pytest
from typer.testing import CliRunner

from harness.cli.main import command_line
from harness.errors import InputError


@pytest.fixture
def plan(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks" / "hosts").mkdir(parents=True)
    for name, label in (("tr1", "threadripper"), ("tr2", "threadripper"), ("ep1", "epyc")):
        (tmp_path / "playbooks" / "hosts" / f"{name}.yaml").write_text(
            f"version: 1\naddress: {name}.lab\nlabels: [{label}]\n"
        )

    def run(*options):
        file, kernels = repository / "playbooks/published-lab.yaml", repository / "kernels"
        argv = ["run", str(file), "--dry-run", "--kernels", str(kernels), *options]
        return CliRunner().invoke(command_line(), argv)

    return run


def test_every_host_of_a_label_has_its_plan(plan):
    said = plan("--hosts", "label=threadripper")
    assert said.exit_code == 0, said.output
    assert said.output.count("systemctl kexec") == 12
    assert "tr1: sudo -n -- kexec --load" in said.output
    assert "tr2: sudo -n -- kexec --load" in said.output
    assert "ep1" not in said.output
    assert said.output.count("vmap_nodes=1") == 6


def test_a_playbook_without_a_host_asks_for_one(plan):
    assert isinstance(plan().exception, InputError)
    assert "names no host" in str(plan().exception)
    assert isinstance(plan("--hosts", "label=none").exception, InputError)
    assert plan("--hosts", "tr1", "--resume", "latest").exit_code == 2
    assert plan("--scheduler", "tcp://x:1").exit_code == 2
