"""The sudoers file of a lab host: the commands that the harness runs as root, and no other."""

import re

from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import BootMethod
from harness.targets.ssh.probe import root_argvs

# Where Debian has them; sudo compares full paths.
_SBIN = ("kexec", "grub-reboot")


def render_sudoers(spec: HostSpec, method: BootMethod, account: str) -> str:
    """Return the text of /etc/sudoers.d/vmapbench for this host and account. Pure."""
    commands = [_command(argv) for argv in root_argvs(spec, method)]
    body = ", \\\n    ".join(commands)
    return (
        f"# What vmapbench runs as root on {spec.name}. Check with visudo -c; mode 0440.\n"
        "# Whoever may boot a kernel of their choice is root: this list keeps mistakes out and\n"
        "# the log of sudo complete; it does not hold an attacker who has the account.\n"
        f"Cmnd_Alias VMAPBENCH = \\\n    {body}\n"
        f"{account} ALL=(root) NOPASSWD: VMAPBENCH\n"
    )


def _command(argv: tuple[str, ...]) -> str:
    """Return one command as sudoers wants it: full path, special characters escaped."""
    program, *words = argv
    folder = "/usr/sbin" if program in _SBIN else "/usr/bin"
    path = program if program.startswith("/") else f"{folder}/{program}"
    return " ".join([_escaped(path), *(_escaped(word) if word else '""' for word in words)])


def _escaped(word: str) -> str:
    return re.sub(r"([,:=])", r"\\\1", word)
