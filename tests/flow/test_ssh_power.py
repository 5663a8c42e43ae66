import http.server
import os
import threading

import pytest

from harness.errors import InfrastructureError, InputError
from harness.process import SubprocessRunner
from harness.spec.document import parse_document
from harness.spec.host import HostSpec
from harness.targets.ssh.power import cycle_power


def host(power):
    text = f"version: 1\naddress: box.lab\npower: {power}"
    return parse_document(text, HostSpec, name="box", folder="/hosts")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Puts a program on the path that writes down how it was called."""

    def make(name):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "$0 $* [$IPMI_PASSWORD]" >{tmp_path}/said\n')
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        return tmp_path / "said"

    return make


def test_a_command(program):
    said = program("pdu")
    cycle_power(host("{method: command, cycle: [pdu, '7', 'a b; c']}"), SubprocessRunner())
    assert said.read_text().endswith("/pdu 7 a b; c []\n")
    with pytest.raises(InfrastructureError, match="exited with 1"):
        cycle_power(host("{method: command, cycle: ['false']}"), SubprocessRunner())


def test_ipmi_has_its_password_from_the_environment(program, monkeypatch):
    said = program("ipmitool")
    box = host("{method: ipmi, address: bmc, variable: BMC_OF_BOX}")
    with pytest.raises(InputError, match="BMC_OF_BOX is not set"):
        cycle_power(box, SubprocessRunner())
    monkeypatch.setenv("BMC_OF_BOX", "hunter2")
    cycle_power(box, SubprocessRunner())
    assert "chassis power cycle [hunter2]" in said.read_text()
    assert "hunter2" not in said.read_text().split("[")[0]


def test_labgrid(program):
    said = program("labgrid-client")
    cycle_power(host("{method: labgrid, place: tr1}"), SubprocessRunner())
    assert "-p tr1 power cycle" in said.read_text()


def test_nobody_to_ask():
    with pytest.raises(InfrastructureError, match="press its reset button"):
        cycle_power(host("{method: none}"), SubprocessRunner())


@pytest.fixture
def strip():
    """A power strip: a real HTTP server that remembers what it was asked."""
    asked = []

    class Strip(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, body, self.headers["Authorization"]))
            self.send_response({"/away": 302, "/broken": 500}.get(self.path, 200))
            if self.path == "/away":
                self.send_header("Location", "/1")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strip)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_power_strip(strip, monkeypatch):
    url, asked = strip
    monkeypatch.setenv("STRIP", "Bearer hunter2")
    box = host(f"{{method: http, url: '{url}/1', body: cycle, variable: STRIP}}")
    cycle_power(box, SubprocessRunner())
    assert asked == [("/1", b"cycle", "Bearer hunter2")]


@pytest.mark.parametrize("path", ["away", "broken"])
def test_a_power_strip_that_fails_or_sends_us_elsewhere(strip, path):
    url, asked = strip
    with pytest.raises(InfrastructureError, match="host box: power through 127.0.0.1"):
        cycle_power(host(f"{{method: http, url: '{url}/{path}', body: x}}"), SubprocessRunner())
    assert [request[0] for request in asked] == [f"/{path}"]
