"""Identifies the kernel that runs on a host, and checks that it is the one that was sent."""

import re
from dataclasses import dataclass

from harness.build.build_id import build_id_in_notes
from harness.targets.ssh.shell import HostAnswerError, Shell

_FILES = {  # file -> pattern of its only line
    "/proc/sys/kernel/random/boot_id": r"[0-9a-f-]{36}",
    "/proc/sys/kernel/osrelease": r"[\w.+~-]{1,64}",
    "/proc/version": r"Linux version .{1,4000}",
    "/proc/cmdline": r".{0,8192}",
}


@dataclass(frozen=True)
class Running:
    """The identity of a running kernel."""

    boot_id: str
    release: str
    version: str  # /proc/version
    build_id: str  # hex; empty if unknown
    command_line: str

    @property
    def nonce(self) -> str:
        """The nonce of the trial that runs; empty for the known-good kernel."""
        found = re.search(r"(?:^| )vmapbench\.trial=([0-9a-f]+)", self.command_line)
        return found[1] if found else ""


def read_running(shell: Shell) -> Running:
    """Return the kernel that runs on the host. Raises ConnectionLostError, HostAnswerError."""
    boot_id, release, version, cmdline = (
        read_line(shell, file, pattern) for file, pattern in _FILES.items()
    )
    # od, as notes are binary: 4-byte words, little endian on all supported architectures
    notes = shell.run(["od", "-An", "-v", "-tx1", "/sys/kernel/notes"]).stdout
    digits = "".join(notes.split())
    if not re.fullmatch(r"([0-9a-f]{2}){0,65536}", digits):
        raise HostAnswerError(_invalid_answer(shell, "/sys/kernel/notes", notes))
    return Running(boot_id, release, version, build_id_in_notes(bytes.fromhex(digits)), cmdline)


def read_line(shell: Shell, file: str, pattern: str) -> str:
    """Return the only line of a file. Raises HostAnswerError if `pattern` does not match it."""
    said = shell.run(["cat", file], check=True).stdout
    line = said.strip()
    if not re.fullmatch(pattern, line):
        raise HostAnswerError(_invalid_answer(shell, file, said))
    return line


def _invalid_answer(shell: Shell, file: str, said: str) -> str:
    return (
        f"host {shell.name}: {file}: unexpected content {said.strip()[:80]!r}\n"
        "  next: make sure that the account's shell start-up files (~/.bashrc) print nothing"
    )


def mismatches(running: Running, release: str, build_id: str, nonce: str) -> list[str]:
    """Return how the running kernel differs from the expected trial; empty if it does not."""
    faults = []
    if running.nonce != nonce:
        faults.append(f"its command line has trial {running.nonce or 'none'}, expected {nonce}")
    if running.release != release:
        faults.append(f"its release is {running.release}, expected {release}")
    if build_id and running.build_id != build_id:
        faults.append(f"its build id is {running.build_id[:12] or 'unknown'}, expected {build_id}")
    return faults
