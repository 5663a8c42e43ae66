"""Stand-ins for QEMU on machines with other KVMs than this one, which runs the tests.

Each is a script named like QEMU that runs the real one, under TCG wherever it is asked for KVM, so
that the probe guest ends as under a KVM. They differ in what becomes of a Linux under KVM.
"""

import shutil
from pathlib import Path

_SCRIPT = """#!/bin/bash
# A stand-in, not QEMU: see tests/qemu_stand_in.py.
real={real} kvm= linux= argv=()
for word; do
    case $word in
        kvm) kvm=yes word=tcg,thread=multi;;
        -kernel) linux=yes;;
    esac
    argv+=("$word")
done
if [ -n "$kvm" ] && [ -n "$linux" ]; then
    echo Linux >> {log}
    {under_kvm}
fi
exec "$real" "${{argv[@]}}"
"""
RUNS = ":"  # as under a KVM that works
HANGS = "argv+=(-S)"  # not one instruction runs, and the monitor answers
DEAF = "exec sleep 1000"  # not even the monitor answers
DIES = "echo 'KVM internal error' >&2; exit 3"


class QemuStandIn:
    """Puts a stand-in on PATH, and a device in place of /dev/kvm that anybody may open."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, self._log = folder / "qemu-stand-in", folder / "qemu-stand-in.log"
        self._real = shutil.which("qemu-system-x86_64")
        self.folder.mkdir()
        (folder / "kvm").touch()
        monkeypatch.setattr("harness.targets.accelerator.KVM_DEVICE", folder / "kvm")
        monkeypatch.setenv("PATH", str(self.folder), prepend=":")
        for name in ("FIRST_OUTPUT_S", "FIRST_OUTPUT_SOFTWARE_S"):
            monkeypatch.setattr(f"harness.targets.accelerator.{name}", 3.0)

    def does(self, under_kvm: str):
        """Say what becomes of a Linux under KVM from now on."""
        script = self.folder / "qemu-system-x86_64"
        script.write_text(_SCRIPT.format(real=self._real, log=self._log, under_kvm=under_kvm))
        script.chmod(0o755)

    @property
    def boots_under_kvm(self) -> int:
        """How often a Linux was started under KVM."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0
