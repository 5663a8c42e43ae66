"""The helper of lab hosts in a folder: its text as rendered, its paths below the folder.

Programs that would change this machine are stand-ins that note how they were called.
"""

import subprocess
from pathlib import Path

from harness.spec.document import parse_document
from harness.spec.host import HostSpec
from harness.targets.ssh.helper import render_helper

STOOD_IN = (
    *("systemctl", "systemd-run", "kexec", "grub-reboot", "grub-editenv", "bootctl", "sync"),
    *("insmod", "pkill", "dmesg", "swapon", "swapoff", "mount"),
)
KNOWN_GOOD, TRIAL = "root=/dev/sda1 ro", "root=/dev/sda1 ro vmapbench.trial=ab12"


class HelperStand:
    """See above. `folder` is the machine's root as far as the helper is concerned."""

    def __init__(self, folder: Path, knobs: str = ""):
        """`knobs`: rows in place of those of tuning.yaml, `{}` for the folder."""
        self.folder, self.trial = folder, folder / "trial"
        for name in ("bin", "grub", "partition"):
            (folder / name).mkdir()
        for name in STOOD_IN:
            self.program(name, "exit 0")
        text = render_helper(host_spec())
        if knobs:
            table = text[text.index("\nsmt\t") : text.index("\nEND\n", text.index("\nsmt\t"))]
            text = text.replace(table, "\n" + knobs.format(folder).rstrip("\n"))
        for path, here in {
            "export PATH=": f"export PATH={folder}/bin:",
            "/var/cache/vmapbench": self.trial,
            "/run/vmapbench": folder / "run",
            "/boot/initrd.img-$(uname -r)": folder / "initrd.img",
            "grub=/boot/grub": f"grub={folder}/grub",
            "/boot/efi": folder / "partition",
            "/proc/cmdline": folder / "cmdline",
            "/proc/timer_list": folder / "timer_list",
            "/sys/firmware/efi": folder / "efi",
            "/sys/kernel/tracing": folder / "tracing",
            "/proc/sys/kernel/kptr_restrict": folder / "kptr_restrict",
            "/usr/lib/linux-tools": folder / "linux-tools",
        }.items():
            assert path in text, path
            text = text.replace(path, str(here))
        self.file = folder / "helper"
        self.file.write_text(text)
        self.runs(KNOWN_GOOD)
        (folder / "initrd.img").write_text("the host's own")
        (folder / "timer_list").write_text("Timer List\nnow at 5000000000 nsecs\n")

    def runs(self, command_line: str) -> None:
        """Have the machine run a kernel with this command line."""
        (self.folder / "cmdline").write_text(command_line + "\n")

    def program(self, name: str, text: str) -> None:
        """Put a stand-in in front of a program."""
        file = self.folder / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/called\n{text}\n')
        file.chmod(0o755)

    def run(self, *words: str, stdin: bytes = b"", before: str = ""):
        """Run a verb; `before` is shell text that comes first."""
        return subprocess.run(
            ["sh", "-c", f'{before} exec sh "$@"', "sh", str(self.file), *words],
            input=stdin,
            capture_output=True,
            check=False,
        )

    def called(self) -> list[str]:
        """Return how stand-ins were called since the last time."""
        file = self.folder / "called"
        said = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return said

    def files(self) -> dict[str, bytes]:
        """Return every file there is."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def host_spec(text: str = "") -> HostSpec:
    """Return a host with these further lines in its file."""
    return parse_document(
        f"version: 1\naddress: box.lab\n{text}", HostSpec, name="box", folder="/hosts"
    )
