import pytest

from harness.targets.ssh.transport import HostShell
from tests.flow.loopback import LoopbackServer


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real sshd on loopback."""
    server = LoopbackServer(tmp_path_factory.mktemp("sshd") / "server")
    yield server
    server.stop()


@pytest.fixture
def shell(spec):
    """A connection to the host of `spec`."""
    shell = HostShell(spec)
    yield shell
    shell.close()
