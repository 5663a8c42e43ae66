"""Plans for lab hosts, as a user asks for them; nothing is reached."""

import contextlib
import socket

import pytest
from typer.testing import CliRunner

from harness.cli.main import command_line
from harness.cli.verbs.run import _run_in_turn
from harness.errors import InputError
from harness.spec.host import load_host
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.transport import HostShell


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
    for name in ("tr1", "tr2"):
        start = f"{name}: sudo -n -- /usr/local/sbin/vmapbench-lab start kexec"
        assert said.output.count(start) == 6
    assert "ep1" not in said.output
    assert said.output.count("vmap_nodes=1") == 6
    assert "sequential_test_order=N" in said.output


def test_a_playbook_without_a_host_asks_for_one(plan):
    assert isinstance(plan().exception, InputError)
    assert "has no lab host" in str(plan().exception)
    assert isinstance(plan("--hosts", "label=none").exception, InputError)
    assert plan("--hosts", "tr1", "--resume", "latest").exit_code == 2
    assert plan("--scheduler", "tcp://x:1").exit_code == 2


@pytest.fixture
def unreachable(repository, tmp_path, monkeypatch):
    """Two hosts that do not answer, on an unused port."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "playbooks" / "hosts").mkdir(parents=True)
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for name in ("tr1", "tr2"):
            (tmp_path / "playbooks" / "hosts" / f"{name}.yaml").write_text(
                f"version: 1\naddress: 127.0.0.1\nport: {port}\nlabels: [threadripper]\n"
                "known_hosts: known\nboot: {answer_within_s: 10}\n"
            )
        yield repository


def test_a_host_that_does_not_answer_ends_its_own_part_only(unreachable, capfd):
    tried = []

    def run(name):
        tried.append(name)
        with contextlib.closing(HostShell(load_host(name))):
            raise AssertionError("somebody answers")

    assert _run_in_turn(["tr1", "tr2"], run) == [3, 3]
    assert tried == ["tr1", "tr2"]
    said = capfd.readouterr().err
    assert said.count("tr1: connecting to host tr1 (127.0.0.1)") == 1
    assert said.count("tr2: connecting to host tr2 (127.0.0.1)") == 1
    with pytest.raises(ConnectionLostError):
        _run_in_turn(["tr1"], run)
