"""A lab host in a box: a QEMU machine with a Debian disk, reached over ssh and nothing else."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.build.cache import Cache, cache_folder
from harness.spec.host import HostSpec, load_host_file
from harness.targets.ssh.connection import ConnectionLostError
from harness.targets.ssh.helper import PATH, render_helper, render_sudoers
from harness.targets.ssh.transport import HostShell
from tests.e2e import qmp
from tests.e2e.lab_image import ACCOUNT, LabImage, LabMachine, ensure_raw_image

SUDOERS = "/etc/sudoers.d/vmapbench"
_FIRST_START_S = 400  # what a start may take before one was measured


class LabBox:
    """One machine. Its disk is a snapshot that goes with it; a reset keeps what it has."""

    def __init__(self, image: LabImage, folder: Path, *, keep: bool = False):
        """`keep`: write to the image itself."""
        self.image, self.folder = image, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._sockets = tempfile.TemporaryDirectory(prefix="box-")  # their paths must be short
        self.monitor = Path(self._sockets.name) / "qmp"
        self.port = _free_port()
        self.serial = folder / "serial.log"
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {image.host_key}\n")
        self.start_s = 0.0  # from power-on until the account can log in
        self._log = (folder / "qemu.log").open("wb")
        self.process = subprocess.Popen(
            box_argv(image, self.port, self.monitor, self.serial, keep=keep),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def host_text(self, **more: str) -> str:
        """Return a host file for the account; `more` adds keys or replaces them."""
        cycle = [sys.executable, qmp.__file__, str(self.monitor)]
        keys = {
            "version": "1",
            "address": "127.0.0.1",
            "port": str(self.port),
            "user": ACCOUNT,
            "identity": str(self.image.user_key),
            "known_hosts": str(self.known_hosts),
            "power": json.dumps({"method": "command", "cycle": cycle}),
            "boot": self.boot_text("kexec"),
            **more,
        }
        return "".join(f"{key}: {value}\n" for key, value in keys.items())

    def boot_text(self, method: str) -> str:
        """Return a `boot:` with the deadlines that this machine, as busy as it is, asks for."""
        start_s = int(max(20, self.start_s)) if self.start_s else _FIRST_START_S
        clocks = {"confirm_within_s": 2 * start_s, "answer_within_s": 3 * start_s, "panic_s": 2}
        return json.dumps({"method": method, **clocks})

    def host(self, name: str, **more: str) -> HostSpec:
        """Return a host of this box; its file is in `folder`/hosts."""
        file = self.folder / "hosts" / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(self.host_text(**more))
        return load_host_file(file)

    def as_root(self) -> HostShell:
        """Connect as whoever administers the machine. Waits while it starts."""
        spec = self.host("root", user="root", sudo="false")
        began = time.monotonic()
        while True:
            try:
                shell = HostShell(spec, connect_s=60)
                self.start_s = self.start_s or time.monotonic() - began
                return shell
            except ConnectionLostError:
                assert self.process.poll() is None, (self.folder / "qemu.log").read_text()
                time.sleep(1)

    def allow(self) -> None:
        """Install helper and sudoers file, as docs/howto/lab.md says."""
        spec = self.host("box")
        with contextlib.closing(self.as_root()) as shell:
            for text, accepts, mode, place in (
                (render_helper(spec), ["sh", "-n"], "755", PATH),
                (render_sudoers(spec, ACCOUNT), ["visudo", "-cf"], "440", SUDOERS),
            ):
                shell.put(text.encode(), "/root/new")
                shell.run([*accepts, "/root/new"], check=True)
                shell.run(["install", "-m", mode, "/root/new", place], check=True)

    def qmp(self, command: str, **arguments: object) -> object:
        """Ask QEMU for something, such as `set_link`."""
        return qmp.ask(self.monitor, command, **arguments)

    def link(self, *, up: bool) -> None:
        """Pull the network cable, or plug it in again."""
        self.qmp("set_link", name="net0", up=up)

    def console_tail(self) -> str:
        """Return the end of what came over the serial line."""
        text = self.serial.read_text(errors="replace") if self.serial.exists() else ""
        return text[-3000:]

    def stop(self) -> None:
        """End the machine; its snapshot goes with it."""
        self.process.kill()
        self.process.wait()
        self._log.close()
        self._sockets.cleanup()


def box_argv(image: LabImage, port: int, monitor: Path, serial: Path, *, keep: bool) -> list[str]:
    """Return the QEMU command of a box."""
    drive = f"file={image.disk},format=raw,id=disk,if=none,cache=unsafe"
    return [
        *(image.machine.arch.qemu, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-smp", "2", "-m", "1024", *image.machine.qemu),
        *("-drive", f"{drive},snapshot={'off' if keep else 'on'}"),
        *("-device", "virtio-blk-pci,drive=disk,bootindex=0"),
        *("-netdev", f"user,id=user0,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=user0,id=net0,romfile="),
        *("-device", "virtio-rng-pci"),
        *("-serial", f"file:{serial}", "-qmp", f"unix:{monitor},server=on,wait=off"),
    ]


def ensure_image(scratch: Path, machine: LabMachine) -> LabImage:
    """Return the image: made, started once, settled, with GRUB's menu by update-grub itself."""
    raw = ensure_raw_image(machine)
    cache, key = Cache(cache_folder()), f"{raw.folder.name}-settled"
    entry = cache.place("lab-disk", key)
    with cache.lock(key, lambda: None):
        if not entry.exists():
            with cache.attempt("lab-disk", key) as folder:
                argv = ["cp", "-r", "--sparse=always", "--reflink=auto", f"{raw.folder}/.", folder]
                subprocess.run(argv, check=True)
                _settle(LabImage(folder, machine), scratch)
    return LabImage(entry, machine)


def _settle(image: LabImage, scratch: Path) -> None:
    """Start the machine a first time, let GRUB write its menu, and switch off."""
    box = LabBox(image, scratch, keep=True)
    try:
        with contextlib.closing(box.as_root()) as shell:
            shell.run(["update-grub"], check=True, timeout_s=3600)
            shell.run(["systemctl", "poweroff"])
        box.process.wait()
    finally:
        box.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
