"""systemd-boot: an entry that the firmware's variable names for one start.

The variable LoaderEntryOneShot is cleared by systemd-boot before it starts the entry, so a power
cycle returns to the default.
"""

from harness.spec.host import BootSpec
from harness.targets.ssh.shell import Shell

HELPER = r"""
# systemd-boot: an entry of its own, chosen for one start; the variable has systemd's vendor UUID
systemd_boot_entry=vmapbench-trial.conf
systemd_boot_variable=LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
systemd_boot_arm() {
    install -D -m 0600 "$folder/kernel" "$partition/vmapbench/kernel" &&
        install -D -m 0600 "$folder/initrd" "$partition/vmapbench/initrd" &&
        mkdir -p "$partition/loader/entries" &&
        printf 'title %s\nlinux %s\ninitrd %s\noptions %s\n' "vmapbench trial" \
            /vmapbench/kernel /vmapbench/initrd "$1" \
            >"$partition/loader/entries/$systemd_boot_entry" &&
        sync -f "$partition" && bootctl set-oneshot $systemd_boot_entry
}
systemd_boot_disarm() { bootctl set-oneshot ''; }
systemd_boot_armed() { [ -e /sys/firmware/efi/efivars/$systemd_boot_variable ]; }
systemd_boot_inspect() {
    echo "installed: $(bootctl is-installed)"
    echo "partition: $(bootctl --print-boot-path)"
}
systemd_boot_start() { systemctl reboot; }
"""


class SystemdBoot:
    """Boots once by an entry of systemd-boot: bootctl set-oneshot, and a reboot."""

    name = "systemd-boot"

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
        said = shell.run(["inspect", self.name], root=True).stdout.splitlines()
        if "installed: yes" not in said:
            return ["systemd-boot is not installed; run bootctl install"]
        if f"partition: {self._folder}" not in said:
            where = next((line[11:] for line in said if line.startswith("partition: ")), "")
            return [f"the boot partition is at {where or 'no place'}, expected at {self._folder}"]
        return []


def make_method(boot: BootSpec) -> SystemdBoot:
    """Return the method for the host's boot partition."""
    return SystemdBoot(boot.partition)
