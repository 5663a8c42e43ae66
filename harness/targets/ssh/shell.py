"""The interface for running programs on a lab host."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import InfrastructureError

OnLine = Callable[[str], None]

COPY_S = 1800.0  # time limit of copying a file, over a slow line


class HostAnswerError(InfrastructureError):
    """A host's answer is invalid: too long, or not in the expected format."""


@dataclass(frozen=True)
class RemoteResult:
    """A program that has ended on the host. `returncode`: -1 if a signal ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Following(Protocol):
    """A running program on the host whose output is followed."""

    def ended(self) -> bool:
        """Return whether the program or the connection has ended."""

    def close(self) -> None:
        """Stop listening. Idempotent."""


class Shell(Protocol):
    """A connection to a host. Every method raises ConnectionLostError if it is lost."""

    name: str

    def run(
        self,
        argv: Sequence[str],
        *,
        root: bool = False,
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
        check: bool = False,
    ) -> RemoteResult:
        """Run `argv` until it ends; with `check`, raise ToolError unless it exits with 0.

        With `root`, `argv` is a verb of the helper (helper.sh) with its arguments, run as root.
        """

    def put(self, data: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file as the account's user and verify its SHA-256 on the host."""

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises ToolError if it cannot be read."""

    def follow(self, argv: Sequence[str], on_line: OnLine, *, root: bool = False) -> Following:
        """Start `argv`; `on_line` is called in another thread for each line of output."""

    def close(self) -> None:
        """Close the connection. Idempotent."""
