"""kexec: from one kernel into the other without the firmware. Nothing on disk is changed.

Whatever ends the trial goes through the firmware, which knows the known-good kernel only.
"""

from collections.abc import Mapping

from harness.spec.host import Boot
from harness.targets.ssh.boot_method import Step, Trial
from harness.targets.ssh.shell import Shell


class Kexec:
    """See `BootMethod`."""

    def programs(self) -> tuple[str, ...]:
        """kexec-tools."""
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

    def reads(self) -> tuple[tuple[str, ...], ...]:
        """What needs root to be read."""
        return ()

    def texts(self, trial: Trial) -> Mapping[str, str]:  # noqa: ARG002  (the protocol's)
        """None: all is in memory."""
        return {}

    def arm(self, trial: Trial, state: str) -> list[Step]:  # noqa: ARG002  (the protocol's)
        """Load the kernel into memory."""
        return [Step(load_argv(trial))]

    def disarm(self) -> list[Step]:
        """Unload it."""
        return [Step(("kexec", "--unload"))]

    def armed(self, shell: Shell) -> bool:
        """Whether a kernel is loaded."""
        return shell.run(["cat", "/sys/kernel/kexec_loaded"]).stdout.strip() == "1"

    def start(self) -> Step:
        """Shut down in order, then jump."""
        return Step(("systemctl", "kexec"))


def load_argv(trial: Trial) -> tuple[str, ...]:
    """Return the command that loads the trial; kexec chooses the system call that works."""
    return (
        *("kexec", "--load", "--kexec-syscall-auto", trial.kernel),
        *(f"--initrd={trial.initrd}", f"--command-line={trial.command_line}"),
    )


def make_method(_: Boot) -> Kexec:
    """Return the method."""
    return Kexec()
