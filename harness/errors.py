"""The exceptions. A kernel that fails is a result (`harness.verdict`), not an exception.

    VmapbenchError
    ├── InputError              the user can fix it                          exit code 2
    │   ├── SpecError           a kernel, playbook or host file is wrong
    │   └── ParameterError      a module parameter is unknown or out of range
    ├── KernelBuildError        the kernel does not build: its verdict        exit code 1
    └── InfrastructureError     not the kernel's fault, no verdict reached    exit code 3
        ├── ToolError           a program is missing, too old, or failed
        │   └── UnsupportedError  a target that this machine cannot be
        └── StoreError          results cannot be kept or read

A message says what was being done, to what (file and key, or host), what was found, what was
expected, and the next step.
"""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit status of a command, with its `meaning` for docs/reference/commands.md."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        """Attach `meaning` to the number."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "success"
    BAD_VERDICT = (
        1,
        "a bad verdict: a kernel that does not build, boot or pass, a slower one, a cut log",
    )
    BAD_INPUT = 2, "invalid input: a file, an option, a parameter of the module"
    FAILURE = 3, "a failure outside the kernel under test: a program, a disk, a host, the store"
    INTERRUPTED = 130, "interrupted by Ctrl-C, SIGTERM or SIGHUP; finished boots are kept"


class VmapbenchError(Exception):
    """Base of all errors that the command line reports without a traceback."""

    exit_code = ExitCode.FAILURE


class InputError(VmapbenchError):
    """Invalid input, which the user can fix."""

    exit_code = ExitCode.BAD_INPUT


class SpecError(InputError):
    """A file that the user wrote is invalid; all its faults are listed, each with its place."""

    def __init__(self, path: Path | str, faults: list[str]):
        """`faults`: one line each, `LINE: key: found, expected`."""
        self.path, self.faults = str(path), faults
        super().__init__("\n".join(f"{path}:{fault}" for fault in faults))


class ParameterError(InputError):
    """A module parameter is unknown or its value out of range."""


class KernelBuildError(VmapbenchError):
    """The kernel's own code or configuration does not build; `log` has the compiler's output."""

    exit_code = ExitCode.BAD_VERDICT

    def __init__(self, message: str, log: Path | None = None):
        """`log`: path of the build log, named in the message."""
        self.log = log
        super().__init__(f"{message}\n  build log: {log}" if log else message)


class InfrastructureError(VmapbenchError):
    """A failure outside the kernel under test; no verdict was reached."""


class ToolError(InfrastructureError):
    """A program is missing, too old, or failed where only its failure explains it."""


class UnsupportedError(ToolError):
    """The machine cannot be the target that a playbook asks for; another playbook may run here."""


class StoreError(InfrastructureError):
    """Results cannot be written or read."""
