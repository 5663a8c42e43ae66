"""systemd-boot: an entry that an EFI variable selects for the next start only.

systemd-boot clears the variable LoaderEntryOneShot before it starts the entry, so that a power
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
    """Boots once with an entry of systemd-boot: bootctl set-oneshot, then a reboot."""

    name = "systemd-boot"

    def __init__(self, folder: str):
        """`folder`: mount point of the boot partition, as of `bootctl --print-boot-path`."""
        self._folder = folder

    def programs(self) -> tuple[str, ...]:
        """Return programs of systemd-boot."""
        return ("bootctl", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """Return faults if the firmware is not EFI, or systemd-boot not installed as expected."""
        if shell.run(["test", "-d", "/sys/firmware/efi/efivars"]).returncode:
            return ["the host was not booted by EFI firmware"]
        said = shell.run(["inspect", self.name], root=True).stdout.splitlines()
        if "installed: yes" not in said:
            return ["systemd-boot is not installed; run bootctl install"]
        if f"partition: {self._folder}" not in said:
            where = next((line[11:] for line in said if line.startswith("partition: ")), "")
            return [f"the boot partition is at {where or '(none)'}, expected {self._folder}"]
        return []


def make_method(boot: BootSpec) -> SystemdBoot:
    """Return the method for the host's boot partition."""
    return SystemdBoot(boot.partition)
