"""Compiles the simulator (plugin/*.c) at first use; the result is cached by its source."""

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path

from harness.build.program import compile_once
from harness.errors import ToolError
from harness.process import Runner

SOURCES = files("harness.targets.simulated") / "plugin"
# The plugin API has conditional callbacks since 9.1 and reads guest memory since 9.2.
OLDEST_QEMU = (9, 2, 0)


def plugin_argv(compiler: str, folder: Path, output: Path) -> list[str]:
    """Return the command that compiles the sources in `folder`.

    Symbols are bound lazily, as the library is also preloaded into the wrapper that starts QEMU,
    which does not have QEMU's functions.
    """
    flags = ["-O2", "-g", "-Wall", "-Wextra", "-fPIC", "-shared", "-fvisibility=hidden"]
    sources = sorted(str(path) for path in folder.glob("*.c"))
    return [compiler, *flags, "-Wl,-z,lazy", "-o", str(output), *sources, "-ldl", "-lpthread"]


def ensure_plugin(cache: Path, runner: Runner, compiler: str = "gcc") -> Path:
    """Return the path of the compiled plugin below `cache`; compiled once per source.

    Raises ToolError if the compiler is missing or fails.
    """
    texts = {entry.name: entry.read_bytes() for entry in SOURCES.iterdir() if entry.is_file()}
    digest = hashlib.sha256(compiler.encode())
    for name in sorted(texts):
        digest.update(name.encode() + b"\0" + texts[name])
    library = cache / "simulated" / f"simulated-{digest.hexdigest()[:16]}.so"
    if library.is_file():
        return library
    if shutil.which(compiler) is None:
        raise ToolError(f"cannot compile the simulated machine: {compiler} not found")
    return compile_once(
        library,
        texts,
        lambda folder, output: plugin_argv(compiler, folder, output),
        "the simulated machine",
        runner,
    )
