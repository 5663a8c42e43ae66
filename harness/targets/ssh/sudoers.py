"""The sudoers file of a lab host: the commands that the harness runs as root, and no other."""

import re
from collections.abc import Sequence

from harness.spec.host import HostSpec
from harness.targets.ssh.boot_method import BootMethod
from harness.targets.ssh.probe import root_argvs

# Where Debian has them; sudo compares full paths.
_NAME = "[A-Za-z0-9_][A-Za-z0-9_.+~-]*"
_SBIN = ("kexec", "grub-reboot")


def render_sudoers(spec: HostSpec, method: BootMethod, account: str) -> str:
    """Return the text of /etc/sudoers.d/vmapbench for this host and account. Pure."""
    commands = [_command(argv) for argv in root_argvs(spec, method)]
    body = ", \\\n    ".join(commands)
    return (
        f"# What vmapbench runs as root on {spec.name}. Check with visudo -c; mode 0440.\n"
        "# The account is root: it boots kernels, loads modules and runs programs of its own as\n"
        "# root. This list keeps mistakes out and the log of sudo complete; it holds no attacker\n"
        "# who has the account. Needs sudo 1.9.10 for the regular expressions.\n"
        f"Cmnd_Alias VMAPBENCH = \\\n    {body}\n"
        f"{account} ALL=(root) NOPASSWD: VMAPBENCH\n"
    )


def _command(argv: tuple[str, ...]) -> str:
    """Return one command as sudoers wants it: full path, special characters escaped."""
    program, *words = argv
    folder = "/usr/sbin" if program in _SBIN else "/usr/bin"
    path = program if program.startswith("/") else f"{folder}/{program}"
    if program == "cat" and "*" in "".join(words):
        return f"{_escaped(path)} {file_pattern(words)}"
    return " ".join([_escaped(path), *(_escaped(word) if word else '""' for word in words)])


def file_pattern(words: Sequence[str]) -> str:
    """Return the regular expression of sudoers for these words; `*` is a file, below or there.

    A wildcard of sudoers matches blanks and `/` as well, and so any file: `..`, or one more word.
    """
    place = re.escape(" ".join(words)).replace(r"\*", "*").replace("\\ ", " ").replace(r"\-", "-")
    return f"^{place.replace('*', f'{_NAME}(/{_NAME})*')}$"


def _escaped(word: str) -> str:
    return re.sub(r"([,:=])", r"\\\1", word)
