"""kexec: starts a kernel without the firmware. Nothing on disk is changed.

Every way to end the trial goes through the firmware, which starts the known-good kernel.
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
    """Boots once by kexec, without the firmware; a reset starts the known-good kernel."""

    name = "kexec"

    def programs(self) -> tuple[str, ...]:
        """Return programs of kexec-tools and systemd."""
        return ("kexec", "systemctl")

    def faults(self, shell: Shell) -> list[str]:
        """Return faults if kexec is disabled (sysctl) or limited to signed kernels (lockdown)."""
        found = []
        disabled = shell.run(["cat", "/proc/sys/kernel/kexec_load_disabled"]).stdout.strip()
        if disabled != "0":
            found.append("kernel.kexec_load_disabled is not 0, or this kernel cannot kexec")
        lockdown = shell.run(["cat", "/sys/kernel/security/lockdown"]).stdout
        if "[none]" not in lockdown and "[" in lockdown:
            found.append("kernel lockdown (Secure Boot): only signed kernels can be started")
        return found


def make_method(_: BootSpec) -> Kexec:
    """Return the method, which has no further keys in a host file."""
    return Kexec()
