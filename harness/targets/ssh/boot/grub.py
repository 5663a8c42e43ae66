"""GRUB: an entry that is chosen for one start only. A power cycle returns to the default.

The saved entry is never touched: `grub-reboot` sets `next_entry`, which GRUB clears as it boots.
It can do so only on a plain partition; on LVM, RAID or btrfs it cannot write, the entry would be
taken again and again, and the host lost. So this method refuses such hosts.
"""

import shlex
from collections.abc import Mapping

from harness.errors import InputError
from harness.spec.host import Boot
from harness.targets.ssh.boot_method import REBOOT, Step, Trial
from harness.targets.ssh.shell import Shell

FOLDER = "/boot/grub/vmapbench"
CUSTOM = "/boot/grub/custom.cfg"
ENVIRONMENT = "/boot/grub/grubenv"
ENTRY = "vmapbench-trial"
SOURCE_LINE = "if [ -f $prefix/vmapbench/trial.cfg ]; then source $prefix/vmapbench/trial.cfg; fi"
_WRITABLE = ("ext2", "ext3", "ext4", "xfs", "vfat")


class Grub:
    """See `BootMethod`."""

    def programs(self) -> tuple[str, ...]:
        """grub2-common."""
        return ("grub-reboot", "grub-editenv", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """GRUB must read our entry, and be able to forget it before it boots."""
        found = []
        configuration = shell.run(["cat", "/boot/grub/grub.cfg"], sudo=True).stdout
        if "next_entry" not in configuration:
            found.append("/boot/grub/grub.cfg has no next_entry; run update-grub")
        if "custom.cfg" not in configuration:
            found.append("/boot/grub/grub.cfg does not read custom.cfg (/etc/grub.d/41_custom)")
        custom = shell.run(["cat", CUSTOM], sudo=True)
        if custom.returncode == 0 and SOURCE_LINE not in custom.stdout:
            found.append(f"{CUSTOM} exists; add this line to it: {SOURCE_LINE}")
        return found + storage_faults(
            shell.run(["findmnt", "-nro", "SOURCE,FSTYPE", "-T", "/boot/grub"]).stdout
        )

    def reads(self) -> tuple[tuple[str, ...], ...]:
        """What needs root to be read."""
        return (
            ("cat", "/boot/grub/grub.cfg"),
            ("cat", CUSTOM),
            ("grub-editenv", ENVIRONMENT, "list"),
        )

    def texts(self, trial: Trial) -> Mapping[str, str]:
        """Return the entry, and the file that makes GRUB read it."""
        return {"trial.cfg": render_entry(trial), "custom.cfg": SOURCE_LINE + "\n"}

    def arm(self, trial: Trial, state: str) -> list[Step]:
        """Install kernel, initial file system and entry; choose the entry for one start."""
        files = (
            (trial.kernel, f"{FOLDER}/bzImage"),
            (trial.initrd, f"{FOLDER}/initrd"),
            (f"{state}/trial/trial.cfg", f"{FOLDER}/trial.cfg"),
        )
        return [
            *(Step(("install", "-D", "-m", "0600", "--", *pair)) for pair in files),
            Step(("cp", "--no-clobber", "--", f"{state}/trial/custom.cfg", CUSTOM)),
            Step(("sync", "-f", FOLDER)),
            Step(("grub-reboot", ENTRY)),
        ]

    def disarm(self) -> list[Step]:
        """Forget the choice."""
        return [Step(("grub-editenv", ENVIRONMENT, "unset", "next_entry"))]

    def armed(self, shell: Shell) -> bool:
        """Whether our entry is chosen."""
        return ENTRY in shell.run(["grub-editenv", ENVIRONMENT, "list"], sudo=True).stdout

    def start(self) -> Step:
        """Reboot."""
        return Step(REBOOT)


def render_entry(trial: Trial) -> str:
    """Return the menu entry. Raises InputError for a command line that GRUB would not pass on."""
    if set(trial.command_line) & set("\"'\\"):
        raise InputError(
            f"GRUB changes quotes and backslashes on a kernel command line: {trial.command_line}"
        )
    words = " ".join(shlex.quote(word) for word in trial.command_line.split())
    return (
        f"menuentry 'vmapbench trial {trial.nonce}' --id {ENTRY} {{\n"
        f"    linux $prefix/vmapbench/bzImage {words}\n"
        "    initrd $prefix/vmapbench/initrd\n"
        "}\n"
    )


def storage_faults(mount: str) -> list[str]:
    """Return why GRUB cannot clear its choice on this mount: `findmnt -o SOURCE,FSTYPE`, a line."""
    device, kind = (mount.split() or ["unknown"])[0], (mount.split() or ["", ""])[-1]
    if kind not in _WRITABLE or device.startswith(("/dev/mapper/", "/dev/dm-", "/dev/md")):
        where = f"/boot/grub is on {device} ({kind or 'unknown'})"
        return [f"{where}, where GRUB cannot write: it would start the trial for ever; use kexec"]
    return []


def make_method(_: Boot) -> Grub:
    """Return the method."""
    return Grub()
