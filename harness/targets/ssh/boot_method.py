"""What every boot method offers, and what a trial boot is made of."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.errors import ToolError
from harness.spec.boot_parameters import is_ours, name_of, split_words
from harness.spec.host import Boot
from harness.targets.ssh.shell import Shell

REBOOT = ("systemctl", "reboot")


@dataclass(frozen=True)
class Trial:
    """One boot of a kernel under test; all paths are on the host.

    `initrd` is the guard's archive followed by the host's own initial file system.
    """

    nonce: str
    kernel: str
    initrd: str
    command_line: str


@dataclass(frozen=True)
class Step:
    """One command on the host, as root unless said otherwise."""

    argv: tuple[str, ...]
    sudo: bool = True


class BootMethod(Protocol):
    """One way to start a kernel once, so that the boot after it is the known-good one's."""

    def programs(self) -> tuple[str, ...]:
        """Return the programs that the host must have."""

    def faults(self, shell: Shell) -> list[str]:
        """Return why this method would not work on this host, or not be safe. Changes nothing."""

    def reads(self) -> tuple[tuple[str, ...], ...]:
        """Return what `faults` and `armed` read as root."""

    def texts(self, trial: Trial) -> Mapping[str, str]:
        """Return the small files that `arm` needs in `state`/trial, by name."""

    def arm(self, trial: Trial, state: str) -> list[Step]:
        """Return the steps that make the next start the trial's. Files are in `state`/trial."""

    def disarm(self) -> list[Step]:
        """Return the steps after which the next start is the known-good kernel's. Repeatable."""

    def armed(self, shell: Shell) -> bool:
        """Whether the next start would be a trial's."""

    def start(self) -> Step:
        """Return the step that leaves the running kernel for the trial."""


def boot_method(boot: Boot) -> BootMethod:
    """Return the method that a hosts file names."""
    module = importlib.import_module(f"harness.targets.ssh.boot.{boot.method.replace('-', '_')}")
    method: BootMethod = module.make_method(boot)
    return method


def carry_out(shell: Shell, steps: Sequence[Step]) -> None:
    """Run `steps` in order. Raises ToolError at the first that fails."""
    for step in steps:
        shell.run(step.argv, sudo=step.sudo, check=True)


def arm(shell: Shell, method: BootMethod, trial: Trial, state: str) -> None:
    """Make the next start the trial's, or raise ToolError and leave the host as it was."""
    try:
        carry_out(shell, method.arm(trial, state))
    except ToolError:
        carry_out(shell, method.disarm())
        raise


def trial_command_line(known_good: str, additions: Sequence[str]) -> str:
    """Return the command line of a trial: the known-good kernel's, then ours.

    What belongs to one boot of the known-good kernel (its image, its crash kernel), hides
    messages, or is the harness's to say stays out, and so does what the known-good kernel's init
    is told after `--`: ours would be init's as well. The last value of a parameter wins.
    """
    dropped = ("BOOT_IMAGE", "crashkernel", "quiet", "splash")
    kept = [
        word
        for word in split_words(known_good)
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
