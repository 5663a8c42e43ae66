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
    """A boot of a kernel under test. `nonce`: in hex, identifies it on its command line."""

    nonce: str
    command_line: str


class BootMethod(Protocol):
    """A way to start a kernel once; the boot after it is the known-good kernel's.

    The steps that need root are in the module's `HELPER`, as shell functions for helper.sh:
    NAME_arm COMMAND-LINE, NAME_disarm, NAME_armed, NAME_inspect and NAME_start.
    """

    name: str  # as in host files

    def programs(self) -> tuple[str, ...]:
        """Return the programs that the host must have."""

    def faults(self, shell: Shell) -> list[str]:
        """Return why this method does not work on this host or is not safe. Changes nothing."""


def method_module(name: str) -> Any:
    """Return the module of the boot method `name`."""
    return importlib.import_module(f"harness.targets.ssh.boot.{name.replace('-', '_')}")


def boot_method(boot: BootSpec) -> BootMethod:
    """Return the boot method of a host file."""
    method: BootMethod = method_module(boot.method).make_method(boot)
    return method


def arm(shell: Shell, method: BootMethod, trial: Trial) -> None:
    """Make the host start the trial next, or raise ToolError and leave the host unchanged."""
    line = trial.command_line.encode()
    shell.run(["arm", method.name], root=True, stdin=line, check=True, timeout_s=300)


def disarm(shell: Shell, method: BootMethod) -> None:
    """Make the host start the known-good kernel next. Idempotent. Raises ToolError."""
    shell.run(["disarm", method.name], root=True, check=True)


def armed(shell: Shell, method: BootMethod) -> bool:
    """Return whether the host would start a trial next. Raises ToolError if that is unknown."""
    return shell.run(["armed", method.name], root=True, check=True).stdout.strip() == "yes"


def trial_command_line(known_good: str, additions: Sequence[str]) -> str:
    """Return the command line of a trial: that of the known-good kernel, then `additions`.

    Left out are parameters of its own boot (image, crash kernel), those that hide messages or that
    the harness sets, and what follows `--`, as `additions` would become arguments of init. The last
    value of a parameter wins.
    """
    dropped = ("BOOT_IMAGE", "crashkernel", "quiet", "splash")
    kept = [
        word
        for word in split_command_line(known_good)
        if name_of(word) not in dropped and not is_ours(word)
    ]
    return " ".join([*kept, *additions])


def guard_parameters(nonce: str, confirm_s: int, lease_s: int, panic_s: int) -> tuple[str, ...]:
    """Return the boot parameters that make the host reboot if the trial fails.

    `confirm_s`: the guard reboots unless the harness connects in time; `lease_s`: then unless the
    lease is renewed; `panic_s`: delay of the reboot after a panic. There is no `oops=panic`, so
    that an oops can be read over the network; the harness or the guard's lease then ends the trial.
    `log_buf_len`: 64 workers x 12 lines overflow the default buffer.
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
