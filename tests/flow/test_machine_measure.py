"""`vmapbench machine measure` with the real program, here and over a real ssh connection."""

import pytest

from harness.cli.verbs.machine import measure
from harness.errors import InputError
from harness.targets.simulated.machine import load_machine


@pytest.mark.parametrize("where", ["here", "a lab host"])
def test_a_measured_machine_can_be_named_as_any_other(where, server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hosts, machines = tmp_path / "playbooks" / "hosts", tmp_path / "playbooks" / "machines"
    hosts.mkdir(parents=True)
    server.trust(hosts / "known")
    (hosts / "box.yaml").write_text(server.host_text(known_hosts="known"))
    host, path = None if where == "here" else "box", machines / "mine.yaml"
    measure(host, None, path, None, False)
    assert "next: vmapbench predict --machine mine" in capsys.readouterr().out
    model = load_machine("mine")
    assert 300 < model.clock_mhz < 10_000
    assert model.pause_cycles > 1
    assert 1 < model.transfers.same_complex_ns < 10_000
    assert model.instructions_per_cycle == 1.0
    assert "load" in model.sources["clock_mhz"]
    with pytest.raises(InputError, match=r"already exists\n  next: --overwrite"):
        measure(host, None, path, None, False)
