"""A real sshd on this machine: its own keys and configuration, a free port."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
_TETHER = ("setpriv", "--pdeathsig", "KILL", "--")  # it dies with a test run that is killed


def make_key(path: Path) -> str:
    """Make an ed25519 key pair without passphrase; return the public half."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True
    )
    return path.with_suffix(".pub").read_text()


class LoopbackServer:
    """One sshd. `user_key` is the private key that it lets in."""

    def __init__(self, folder: Path, *options: str, wrapper: tuple[str, ...] = ()):
        """`options`: further lines of sshd_config; `wrapper`: what sshd is started by."""
        self.wrapper = wrapper
        assert SSHD, "openssh-server is not installed; see setup/packages.txt"
        self.folder = folder
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # what the package's unit does
        self.host_key = make_key(folder / "host_key")
        self.user_key = folder / "user_key"
        (folder / "authorized_keys").write_text(make_key(self.user_key))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile {folder}/pid\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n"
            # bash reads ~/.bashrc for every command that sshd starts
            f"SetEnv HOME={folder}\nPermitUserRC no\n"
            "UsePAM no\nPermitRootLogin yes\nAllowTcpForwarding yes\n"
            + "".join(f"{line}\n" for line in options)
        )
        self.start()

    def start(self):
        """Start it and wait until it answers."""
        with (self.folder / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*_TETHER, *self.wrapper, SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stderr=log,
                start_new_session=True,
            )
        while self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.025)
        raise AssertionError((self.folder / "sshd.log").read_text())

    def trust(self, file: Path):
        """Write its host key to a known_hosts file."""
        file.write_text(f"[127.0.0.1]:{self.port} {self.host_key}")

    def connections(self) -> list[int]:
        """Process ids of the children that serve connections."""
        out = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)],
            check=False,
            capture_output=True,
            text=True,
        )
        return [int(pid) for pid in out.stdout.split()]

    def cut(self):
        """End every connection; the server stays."""
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self):
        """Let every connection go dead: what is sent is still acknowledged, nothing answers."""
        for pid in self.connections():
            os.kill(pid, signal.SIGSTOP)

    def stop(self):
        """End the server and what it serves."""
        self.cut()
        self.process.terminate()
        self.process.wait()

    def host_text(self, **more) -> str:
        """A host file for this server."""
        lines = [
            "version: 1",
            "address: 127.0.0.1",
            f"port: {self.port}",
            f"user: {getpass.getuser()}",
            f"identity: {self.user_key}",
            "sudo: false",
            f"state: {self.folder}/state",
            *(f"{key}: {value}" for key, value in more.items()),
        ]
        return "\n".join(lines) + "\n"
