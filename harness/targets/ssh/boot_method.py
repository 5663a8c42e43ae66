"""The interface of boot methods, and the data of a trial boot."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.spec.boot_parameters import is_ours, name_of, split_command_line
from harness.spec.host import BootSpec
from harness.targets.ssh.shell import Shell


@dataclass(frozen=True)
class Trial:
    """One boot of a kernel under test."""

    nonce: str
    command_line: str


class BootMethod(Protocol):
    """One way to start a kernel once, so that the boot after it is the known-good one's.

    What needs root is in its module as `HELPER`: the shell functions NAME_arm COMMAND-LINE,
    NAME_disarm, NAME_armed, NAME_inspect and NAME_start of the helper (helper.sh).
    """

    name: str  # as a host file has it

    def programs(self) -> tuple[str, ...]:
        """Return the programs that the host must have."""

    def faults(self, shell: Shell) -> list[str]:
        """Return why this method would not work on this host, or not be safe. Changes nothing."""


def method_module(name: str) -> Any:
    """Return the module of the boot method that host files call `name`."""
    return importlib.import_module(f"harness.targets.ssh.boot.{name.replace('-', '_')}")


def boot_method(boot: BootSpec) -> BootMethod:
    """Return the method that a host file names."""
    method: BootMethod = method_module(boot.method).make_method(boot)
    return method


def arm(shell: Shell, method: BootMethod, trial: Trial) -> None:
    """Make the next start the trial's, or raise ToolError and leave the host as it was."""
    line = trial.command_line.encode()
    shell.run(["arm", method.name], root=True, stdin=line, check=True, timeout_s=300)


def disarm(shell: Shell, method: BootMethod) -> None:
    """Make the next start the known-good kernel's. Repeatable. Raises ToolError."""
    shell.run(["disarm", method.name], root=True, check=True)


def armed(shell: Shell, method: BootMethod) -> bool:
    """Whether the next start would be a trial's. Raises ToolError where nobody can tell."""
    return shell.run(["armed", method.name], root=True, check=True).stdout.strip() == "yes"


def trial_command_line(known_good: str, additions: Sequence[str]) -> str:
    """Return the command line of a trial: the known-good kernel's, then ours.

    What belongs to one boot of the known-good kernel (its image, its crash kernel), hides
    messages, or is the harness's to say stays out, and so does what the known-good kernel's init
    gets after `--`: our parameters would go to init as well. The last value of a parameter wins.
    """
    dropped = ("BOOT_IMAGE", "crashkernel", "quiet", "splash")
    kept = [
        word
        for word in split_command_line(known_good)
        if name_of(word) not in dropped and not is_ours(word)
    ]
    return " ".join([*kept, *additions])


def guard_parameters(nonce: str, confirm_s: int, lease_s: int, panic_s: int) -> tuple[str, ...]:
    """Return the parameters that bring the host back when the trial fails.

    No `oops=panic`: an oops that does not take the kernel down can still travel over the network,
    and is the result; the harness sees it and ends the trial, and the guard's lease does if it
    cannot. `log_buf_len`: 64 workers x 12 lines overflow the default buffer.
    """
    return (
        "rdinit=/vmapbench/guard",
        f"vmapbench.trial={nonce}",
        f"vmapbench.confirm={confirm_s}",
        f"vmapbench.lease={lease_s}",
        "vmapbench.watchdog=60",
        f"panic={panic_s}",
        "log_buf_len=16M",
        "printk.devkmsg=on",
    )
