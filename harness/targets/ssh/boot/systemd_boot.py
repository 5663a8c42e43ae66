"""systemd-boot: an entry that the firmware's variable names for one start.

The variable LoaderEntryOneShot is cleared by systemd-boot before it starts the entry, so a power
cycle returns to the default.
"""

from collections.abc import Mapping

from harness.spec.host import Boot
from harness.targets.ssh.boot_method import REBOOT, Step, Trial
from harness.targets.ssh.shell import Shell

ENTRY = "vmapbench-trial.conf"
_VARIABLE = "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"  # systemd's vendor UUID


class SystemdBoot:
    """See `BootMethod`."""

    def __init__(self, folder: str):
        """`folder`: where the partition is mounted; `bootctl --print-boot-path` says it."""
        self._folder = folder

    def programs(self) -> tuple[str, ...]:
        """The package systemd-boot."""
        return ("bootctl", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """The firmware must be EFI, and systemd-boot what it started."""
        if shell.run(["test", "-d", "/sys/firmware/efi/efivars"]).returncode:
            return ["the host was not started by EFI firmware"]
        if shell.run(["bootctl", "is-installed"], sudo=True).stdout.strip() != "yes":
            return ["systemd-boot is not installed; run bootctl install"]
        where = shell.run(["bootctl", "--print-boot-path"], sudo=True).stdout.strip()
        if where != self._folder:
            return [f"the boot partition is at {where or 'no place'}, expected at {self._folder}"]
        return []

    def reads(self) -> tuple[tuple[str, ...], ...]:
        """What needs root to be read."""
        return (("bootctl", "is-installed"), ("bootctl", "--print-boot-path"))

    def texts(self, trial: Trial) -> Mapping[str, str]:
        """Return the entry."""
        return {ENTRY: render_entry(trial)}

    def arm(self, trial: Trial, state: str) -> list[Step]:
        """Install kernel, initial file system and entry; choose the entry for one start."""
        files = (
            (trial.kernel, f"{self._folder}/vmapbench/bzImage"),
            (trial.initrd, f"{self._folder}/vmapbench/initrd"),
            (f"{state}/trial/{ENTRY}", f"{self._folder}/loader/entries/{ENTRY}"),
        )
        return [
            *(Step(("install", "-D", "-m", "0600", "--", *pair)) for pair in files),
            Step(("sync", "-f", self._folder)),
            Step(("bootctl", "set-oneshot", ENTRY)),
        ]

    def disarm(self) -> list[Step]:
        """Forget the choice."""
        return [Step(("bootctl", "set-oneshot", ""))]

    def armed(self, shell: Shell) -> bool:
        """Whether an entry is chosen for the next start."""
        return shell.run(["test", "-e", f"/sys/firmware/efi/efivars/{_VARIABLE}"]).returncode == 0

    def start(self) -> Step:
        """Reboot."""
        return Step(REBOOT)


def render_entry(trial: Trial) -> str:
    """Return the entry, in the format of the Boot Loader Specification."""
    return (
        f"title vmapbench trial {trial.nonce}\n"
        "linux /vmapbench/bzImage\n"
        "initrd /vmapbench/initrd\n"
        f"options {trial.command_line}\n"
    )


def make_method(boot: Boot) -> SystemdBoot:
    """Return the method for the host's boot partition."""
    return SystemdBoot(boot.partition)
