import subprocess
from pathlib import Path

import paramiko
import pytest
from typer.testing import CliRunner

from harness.cli.main import command_line
from harness.errors import InputError
from harness.spec.host import load_host_file
from harness.targets.ssh.connection import HostKeyError
from harness.targets.ssh.transport import HostShell
from harness.targets.ssh.trust import next_unknown, remember
from tests.flow.loopback import LoopbackServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = LoopbackServer(tmp_path_factory.mktemp("sshd") / "server")
    yield server
    server.stop()


def host_at(server, folder, **more):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "box.yaml").write_text(server.host_text(known_hosts="known", **more))
    return load_host_file(folder / "box.yaml")


def test_first_contact(server, tmp_path):
    spec = host_at(server, tmp_path)
    with pytest.raises(HostKeyError):
        HostShell(spec)
    shown = next_unknown(spec)
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_key")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown.fingerprint.split()[-1] in said
    assert not shown.trusted
    remember(spec, shown)
    assert next_unknown(spec).trusted
    HostShell(spec).close()


def test_every_hop_is_shown_before_anything_goes_through_it(server, tmp_path):
    gate = LoopbackServer(tmp_path / "gate")
    (gate.folder / "authorized_keys").write_text(server.user_key.with_suffix(".pub").read_text())
    spec = host_at(server, tmp_path, jump=f"[{{address: 127.0.0.1, port: {gate.port}}}]")
    first = next_unknown(spec)
    assert first.name == f"[127.0.0.1]:{gate.port}"
    remember(spec, first)
    second = next_unknown(spec)
    assert second.name == f"[127.0.0.1]:{server.port}"
    remember(spec, second)
    HostShell(spec).close()
    gate.stop()


def test_another_key_is_only_taken_when_told_so(server, tmp_path):
    spec = host_at(server, tmp_path)
    other = LoopbackServer(tmp_path / "other")
    other.stop()
    (tmp_path / "known").write_text(
        f"elsewhere {other.host_key}[127.0.0.1]:{server.port} {other.host_key}"
    )
    shown = next_unknown(spec)
    assert shown.known
    with pytest.raises(InputError, match="man-in-the-middle attack"):
        remember(spec, shown)
    remember(spec, shown, replace=True)
    HostShell(spec).close()
    assert "elsewhere ssh-ed25519" in (tmp_path / "known").read_text()


def test_a_jump_of_the_users_ssh_config_is_as_strict(server, tmp_path):
    gate = LoopbackServer(tmp_path / "gate")
    (gate.folder / "authorized_keys").write_text(server.user_key.with_suffix(".pub").read_text())
    (Path.home() / ".ssh").mkdir()
    (Path.home() / ".ssh" / "config").write_text(
        f"Host behind\n HostName 127.0.0.1\n Port {server.port}\n ProxyJump gate\n"
        f"Host gate\n HostName 127.0.0.1\n Port {gate.port}\n IdentityFile {server.user_key}\n"
    )
    text = server.host_text(known_hosts="known").replace("address: 127.0.0.1", "address: behind")
    (tmp_path / "box.yaml").write_text(text.replace(f"port: {server.port}\n", ""))
    spec = load_host_file(tmp_path / "box.yaml")
    server.trust(tmp_path / "known")
    with pytest.raises(HostKeyError):  # the jump's own key is not trusted
        HostShell(spec)
    (tmp_path / "known").unlink()
    for port in (gate.port, server.port):
        shown = next_unknown(spec)
        assert shown.name == f"[127.0.0.1]:{port}"
        remember(spec, shown)
    shell = HostShell(spec)
    assert shell.run(["echo", "through"]).stdout == "through\n"
    shell.close()
    gate.stop()


def test_a_hashed_or_shared_line_is_replaced_for_this_host_only(server, tmp_path):
    spec = host_at(server, tmp_path)
    other = LoopbackServer(tmp_path / "other")
    other.stop()
    name = f"[127.0.0.1]:{server.port}"
    hashed = paramiko.HostKeys.hash_host(name)
    (tmp_path / "known").write_text(
        f"# mine\n{hashed} {other.host_key}{name},elsewhere {other.host_key}"
    )
    remember(spec, next_unknown(spec), replace=True)
    lines = (tmp_path / "known").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["#", "elsewhere", name]
    HostShell(spec).close()


def test_the_verb(server, tmp_path, monkeypatch):
    app = command_line()
    monkeypatch.chdir(tmp_path)
    spec = host_at(server, tmp_path / "playbooks" / "hosts")
    shown = next_unknown(spec).fingerprint
    runner = CliRunner()
    wrong = runner.invoke(app, ["host", "trust", "box", "--yes", "SHA256:wrong"])
    assert isinstance(wrong.exception, InputError)
    assert runner.invoke(app, ["host", "trust", "box"], input="n\n").exit_code == 1
    assert not (spec.folder / "known").exists()
    good = runner.invoke(app, ["host", "trust", "box", "--yes", shown.split()[-1]])
    assert good.exit_code == 0, good.output
    assert shown in good.output
    assert "trusted already" in runner.invoke(app, ["host", "trust", "box"]).output
