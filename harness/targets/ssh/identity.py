"""Identifies the kernel that runs on a host, and checks that it is the one that was sent."""

import re
from dataclasses import dataclass

from harness.build.build_id import build_id_in_notes
from harness.targets.ssh.shell import HostAnswerError, Shell

_FILES = {  # and what they hold: one line
    "/proc/sys/kernel/random/boot_id": r"[0-9a-f-]{36}",
    "/proc/sys/kernel/osrelease": r"[\w.+~-]{1,64}",
    "/proc/version": r"Linux version .{1,4000}",
    "/proc/cmdline": r".{0,8192}",
}


@dataclass(frozen=True)
class Running:
    """What a running kernel says of itself."""

    boot_id: str
    release: str
    version: str  # /proc/version
    build_id: str  # hex; empty when it does not tell
    command_line: str

    @property
    def nonce(self) -> str:
        """The trial that this boot is; empty for the known-good kernel."""
        found = re.search(r"(?:^| )vmapbench\.trial=([0-9a-f]+)", self.command_line)
        return found[1] if found else ""


def read_running(shell: Shell) -> Running:
    """Return what runs on the host. Raises ConnectionLostError, HostAnswerError."""
    boot_id, release, version, cmdline = (
        read_line(shell, file, pattern) for file, pattern in _FILES.items()
    )
    # od, because a note is binary: 4-byte words, little endian on every machine we run on
    notes = shell.run(["od", "-An", "-v", "-tx1", "/sys/kernel/notes"]).stdout
    digits = "".join(notes.split())
    if not re.fullmatch(r"([0-9a-f]{2}){0,65536}", digits):
        raise HostAnswerError(_invalid_answer(shell, "/sys/kernel/notes", notes))
    return Running(boot_id, release, version, build_id_in_notes(bytes.fromhex(digits)), cmdline)


def read_line(shell: Shell, file: str, pattern: str) -> str:
    """Return the only line of a file. Raises HostAnswerError unless `pattern` matches all of it."""
    said = shell.run(["cat", file], check=True).stdout
    line = said.strip()
    if not re.fullmatch(pattern, line):
        raise HostAnswerError(_invalid_answer(shell, file, said))
    return line


def _invalid_answer(shell: Shell, file: str, said: str) -> str:
    return (
        f"host {shell.name}: {file} is {said.strip()[:80]!r}, which it cannot be\n"
        "  do the start-up files of the account's shell (~/.bashrc) print? make them quiet"
    )


def mismatches(running: Running, release: str, build_id: str, nonce: str) -> list[str]:
    """Return in what the running kernel is not the one that was sent; nothing when it is."""
    faults = []
    if running.nonce != nonce:
        faults.append(f"its command line has trial {running.nonce or 'none'}, expected {nonce}")
    if running.release != release:
        faults.append(f"its release is {running.release}, expected {release}")
    if build_id and running.build_id != build_id:
        faults.append(f"its build id is {running.build_id[:12] or 'unknown'}, expected {build_id}")
    return faults
