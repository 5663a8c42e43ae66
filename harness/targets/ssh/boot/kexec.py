"""kexec: from one kernel into the other without the firmware. Nothing on disk is changed.

Whatever ends the trial goes through the firmware, which knows the known-good kernel only.
"""

from harness.spec.host import BootSpec
from harness.targets.ssh.shell import Shell

HELPER = r"""
# kexec: the kernel lies in memory; kexec chooses the system call that works
kexec_arm() {
    kexec --load --kexec-syscall-auto "$folder/kernel" --initrd="$folder/initrd" \
        --command-line="$1"
}
kexec_disarm() { kexec --unload; }
kexec_armed() { [ "$(cat /sys/kernel/kexec_loaded)" = 1 ]; }
kexec_inspect() { :; }
kexec_start() { systemctl kexec; }
"""


class Kexec:
    """Boots once by kexec: no firmware runs, and a reset brings the known-good kernel."""

    name = "kexec"

    def programs(self) -> tuple[str, ...]:
        """Programs of kexec-tools and systemd."""
        return ("kexec", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """The call must not be disabled (sysctl), nor reserved to signed kernels (lockdown)."""
        found = []
        disabled = shell.run(["cat", "/proc/sys/kernel/kexec_load_disabled"]).stdout.strip()
        if disabled != "0":
            found.append("kernel.kexec_load_disabled is not 0, or this kernel cannot kexec")
        lockdown = shell.run(["cat", "/sys/kernel/security/lockdown"]).stdout
        if "[none]" not in lockdown and "[" in lockdown:
            found.append("the kernel is locked down (Secure Boot): it starts signed kernels only")
        return found


def make_method(_: BootSpec) -> Kexec:
    """Return the method; a host file says nothing more of it."""
    return Kexec()
