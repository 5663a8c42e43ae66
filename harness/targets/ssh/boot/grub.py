"""GRUB: a menu entry for the next start only. A power cycle returns to the default.

The saved entry is not changed: `grub-reboot` sets `next_entry`, which GRUB clears as it boots. GRUB
can only write to a plain partition; on LVM, RAID or btrfs it would start the trial on every boot,
so this method refuses such hosts.
"""

from harness.spec.host import BootSpec
from harness.targets.ssh.shell import Shell

CUSTOM = "/boot/grub/custom.cfg"
SOURCE_LINE = "if [ -f $prefix/vmapbench/trial.cfg ]; then source $prefix/vmapbench/trial.cfg; fi"
HELPER = r"""
# GRUB: an entry of its own, chosen for one start; it changes quotes and backslashes, even quoted
grub=/boot/grub
grub_entry=vmapbench-trial
grub_line='@SOURCE_LINE@'
grub_arm() {
    case $1 in *[\'\"\\]*) refuse "GRUB cannot pass on quotes and backslashes: $1" ;; esac
    install -D -m 0600 "$folder/kernel" $grub/vmapbench/kernel &&
        install -D -m 0600 "$folder/initrd" $grub/vmapbench/initrd &&
        grub_menu "$1" >$grub/vmapbench/trial.cfg &&
        { [ -e $grub/custom.cfg ] || printf '%s\n' "$grub_line" >$grub/custom.cfg; } &&
        sync -f $grub/vmapbench && grub-reboot $grub_entry
}
grub_menu() {
    printf '%s\n' "menuentry 'vmapbench trial' --id $grub_entry {" &&
        printf %s "$1" | sed "s/[^ ][^ ]*/'&'/g; s,^,    linux \$prefix/vmapbench/kernel ," &&
        printf '\n    initrd $prefix/vmapbench/initrd\n}\n'
}
grub_disarm() { grub-editenv $grub/grubenv unset next_entry; }
grub_armed() { grub-editenv $grub/grubenv list | grep -q "^next_entry=$grub_entry"; }
grub_inspect() {
    ! grep -q next_entry $grub/grub.cfg || echo "clears next_entry"
    ! grep -q custom.cfg $grub/grub.cfg || echo "reads custom.cfg"
    [ ! -e $grub/custom.cfg ] || grep -qF "$grub_line" $grub/custom.cfg || echo "other custom.cfg"
}
grub_start() { systemctl reboot; }
""".replace("@SOURCE_LINE@", SOURCE_LINE)
_WRITABLE = ("ext2", "ext3", "ext4", "xfs", "vfat")


class Grub:
    """Boots once with a GRUB menu entry: grub-reboot, then a reboot through the firmware."""

    name = "grub"

    def programs(self) -> tuple[str, ...]:
        """Return programs of grub2-common and systemd."""
        return ("grub-reboot", "grub-editenv", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """Return why GRUB would not read our entry, or could not clear it before booting."""
        said = shell.run(["inspect", self.name], root=True).stdout.splitlines()
        found = []
        if "clears next_entry" not in said:
            found.append("/boot/grub/grub.cfg has no next_entry; run update-grub")
        if "reads custom.cfg" not in said:
            found.append("/boot/grub/grub.cfg does not read custom.cfg (/etc/grub.d/41_custom)")
        if "other custom.cfg" in said:
            found.append(f"{CUSTOM} exists; add this line to it: {SOURCE_LINE}")
        return found + storage_faults(
            shell.run(["findmnt", "-nro", "SOURCE,FSTYPE", "-T", "/boot/grub"]).stdout
        )


def storage_faults(mount: str) -> list[str]:
    """Return why GRUB cannot clear `next_entry` on a mount.

    `mount`: the line that `findmnt -o SOURCE,FSTYPE` prints for it.
    """
    device, kind = (mount.split() or ["unknown"])[0], (mount.split() or ["", ""])[-1]
    if kind not in _WRITABLE or device.startswith(("/dev/mapper/", "/dev/dm-", "/dev/md")):
        where = f"/boot/grub is on {device} ({kind or 'unknown'})"
        return [f"{where}, where GRUB cannot write: it would start the trial forever; use kexec"]
    return []


def make_method(_: BootSpec) -> Grub:
    """Return the method, which has no further keys in a host file."""
    return Grub()
