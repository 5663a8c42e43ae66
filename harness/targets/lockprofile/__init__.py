"""QEMU guests with one online CPU whose locks are profiled by a plugin (locks.c)."""

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
# `noreplace-smp`: with one CPU the kernel would patch the LOCK prefixes out of itself.
PARAMETERS = ("maxcpus=1", "noreplace-smp", *BOOT)


def lock_functions(system_map: str) -> list[str]:
    """Return the addresses, in hex, of the functions that take a spin lock. Pure."""
    return re.findall(r"^([0-9a-f]{16}) T _raw_spin_(?:try)?lock\w*$", system_map, re.MULTILINE)


def ensure_lock_plugin(folder: Path, runner: Runner, compiler: str = "gcc") -> Path:
    """Return the plugin, compiled into `folder` unless it is there. Raises ToolError."""
    if shutil.which(compiler) is None:
        raise ToolError(f"the lock profile is compiled at first use: {compiler} not found")
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
    """Boots `request.cpus` possible CPUs, one of them running; locks.txt lies in the folder."""

    def __init__(self, parameters: Sequence[str], cache: Path, runner: Runner):
        """`parameters`: further boot parameters."""
        super().__init__(QemuSpec(kind="qemu", accelerator="tcg"), cache, runner)
        self._parameters = tuple(parameters)

    def script(self, request: BootRequest) -> Sequence[str]:
        """Return the lines that the guest's init carries out: a mark around each load."""
        return marked_script(request.loads)

    def guest(self, request: BootRequest) -> Guest:
        """Return the machine, the plugin included."""
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
