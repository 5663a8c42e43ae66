"""The protocol for running programs on a lab host, on which everything else there depends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import InfrastructureError

OnLine = Callable[[str], None]

COPY_S = 1800.0  # the most that one file may take, over a slow line


class HostAnswerError(InfrastructureError):
    """A host answers what no host does: too much, or of another kind than was asked for."""


@dataclass(frozen=True)
class RemoteResult:
    """A program that ended on the host. `returncode` is -1 when a signal ended it."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


class Following(Protocol):
    """A program that runs on the host while its lines arrive."""

    def ended(self) -> bool:
        """Whether the program or the connection is gone."""

    def close(self) -> None:
        """Stop listening. Idempotent."""


class Shell(Protocol):
    """A connection to a host. Every method raises `ConnectionLostError` when the host has gone."""

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
        """Run `argv` to its end; with `check`, raise ToolError unless it exits with 0.

        With `root`, `argv` is a verb of the helper (helper.sh) and its words, run as root.
        """

    def put(self, data: bytes | Path, path: str, mode: int = 0o644) -> None:
        """Write a file as the account and compare its SHA-256, as the host computes it."""

    def get(self, path: str) -> bytes:
        """Return the content of a file. Raises ToolError where it cannot be read."""

    def follow(self, argv: Sequence[str], on_line: OnLine, *, root: bool = False) -> Following:
        """Start `argv`; `on_line` is called, in another thread, for each line as it comes."""

    def close(self) -> None:
        """Close the connection. Idempotent."""
