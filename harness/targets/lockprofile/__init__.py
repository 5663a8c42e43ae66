"""QEMU guests with one online CPU, whose use of spin locks a plugin (locks.c) records."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from harness.build.program import compile_once
from harness.errors import ToolError
from harness.process import Runner
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import Guest, QemuTarget
from harness.targets.simulated.target import BOOT, CPU_MODEL, marked_script

PROFILE = "locks.txt"  # in the boot's folder
_OWN = files("harness.targets.lockprofile") / "locks.c"
_SHARED = files("harness.targets.simulated") / "plugin"
_SHARED_NAMES = ("decode.c", "decode.h", "qemu_plugin_api.h")
# `noreplace-smp`: with one CPU the kernel would otherwise patch out its LOCK prefixes.
PARAMETERS = ("maxcpus=1", "noreplace-smp", *BOOT)


def lock_functions(system_map: str) -> list[str]:
    """Return the addresses, in hex, of the functions that take a spin lock. Pure."""
    return re.findall(r"^([0-9a-f]{16}) T _raw_spin_(?:try)?lock\w*$", system_map, re.MULTILINE)


def ensure_lock_plugin(folder: Path, runner: Runner, compiler: str = "gcc") -> Path:
    """Return the plugin, compiled in `folder` if needed. Raises ToolError."""
    if shutil.which(compiler) is None:
        raise ToolError(f"cannot compile the plugin for lock profiles: {compiler} not found")
    entries = (_OWN, *(_SHARED / name for name in _SHARED_NAMES))
    flags = ["-O2", "-Wall", "-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-z,lazy"]
    return compile_once(
        folder / "locks.so",
        {entry.name: entry.read_bytes() for entry in entries},
        lambda scratch, output: [
            *[compiler, *flags, "-o", str(output)],
            *(str(scratch / name) for name in ("locks.c", "decode.c")),
        ],
        "the lock profile",
        runner,
    )


class LockProfileTarget(QemuTarget):
    """Boots with `request.cpus` possible CPUs, one of them online; writes `PROFILE`."""

    def __init__(self, parameters: Sequence[str], cache: Path, runner: Runner):
        """`parameters`: additional boot parameters."""
        super().__init__(QemuSpec(kind="qemu", accelerator="tcg"), cache, runner)
        self._parameters = tuple(parameters)

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the script of the guest's init, with marks before and after each load."""
        return marked_script(request.loads)

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine with the plugin's options."""
        library = ensure_lock_plugin(request.folder, self._runner)
        symbols = request.kernel.system_map.read_text(encoding="ascii", errors="replace")
        options = [f"lock={address}" for address in lock_functions(symbols)]
        out = str(request.folder / PROFILE).replace(",", ",,")
        plugin = f"file={library},{','.join(options)},out={out}"
        guest = super().guest(request)
        return replace(
            guest,
            cpu_model=CPU_MODEL,
            boot_parameters=(*guest.boot_parameters, *PARAMETERS, *self._parameters),
            extra=(*guest.extra, "-plugin", plugin),
        )
