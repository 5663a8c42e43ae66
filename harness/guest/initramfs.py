"""The guest's root file system: our init, the module, and the script of this boot.

An initramfs is a chain of cpio archives in the `newc` format
(Documentation/driver-api/early-userspace/buffer-format.rst), so the two megabytes that never change
are packed once per kernel and the script of a boot is a second, tiny archive behind them.
"""

import hashlib
import secrets
import shutil
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from harness.build.program import compile_once
from harness.errors import ToolError
from harness.guest.memory import FILES, UNFRAGMENTED, moments
from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture

INIT_SOURCE = files("harness.guest") / "init.c"


@dataclass(frozen=True)
class CpioEntry:
    """One file (or folder, or console device) of an archive."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)  # major, minor


def render_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """Return `entries` as one newc archive, padded to 512 bytes; the same bytes every time."""
    archive = bytearray()
    for inode, entry in enumerate([*entries, CpioEntry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        # inode mode uid gid nlink mtime filesize dev(major minor) rdev(major minor) namesize check
        numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, *entry.device)
        archive += b"070701" + b"".join(b"%08X" % n for n in (*numbers, len(name), 0))
        archive += name
        archive += bytes(-len(archive) % 4) + entry.content
        archive += bytes(-len(archive) % 4)
    return bytes(archive) + bytes(-len(archive) % 512)


def base_archive(init: bytes, module: bytes, fragment: bytes | None = None) -> bytes:
    """Return the part that boots of one kernel and workload share.

    `fragment`: the module that fragments memory, where there is one.
    """
    more = [] if fragment is None else [("vmapbench/fragment.ko", fragment)]
    folder = stat.S_IFDIR | 0o755
    folders = [CpioEntry(name, folder) for name in ("dev", "proc", "sys", "vmapbench")]
    return render_cpio(
        [
            *folders,
            # Without it the kernel gives init no stdin, stdout or stderr.
            CpioEntry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
            CpioEntry("init", stat.S_IFREG | 0o755, init),
            *(
                CpioEntry(name, stat.S_IFREG | 0o644, content)
                for name, content in (("vmapbench/module.ko", module), *more)
            ),
        ]
    )


def script_archive(script: str) -> bytes:
    """Return the archive of one boot's script, to be appended to the base."""
    return render_cpio([CpioEntry("vmapbench/script", stat.S_IFREG | 0o644, script.encode())])


def new_nonce() -> str:
    """Return 16 random bytes in hex: what a kernel log cannot guess."""
    return secrets.token_hex(16)


def render_script(nonce: str, lines: Sequence[str], arch: Architecture = X86_64) -> str:
    """Return init's script. Raises ValueError for a line that would be two."""
    for line in lines:
        if "\n" in line or "\0" in line:
            raise ValueError(f"a script line must be one line: {line!r}")
    return "\n".join([f"report {arch.report}", f"nonce {nonce}", *lines, ""])


def measuring_script(
    loads: Sequence[str], settle_ms: int = 500, lazily_freed: bool = True, fragment: str = ""
) -> list[str]:
    """Return the lines of a measuring boot: memory before, after each load and at rest; the log.

    `fragment`: parameters of the module that fragments memory first, "" for none.
    """
    names = moments(len(loads))
    memory = {name: memory_lines(name, lazily_freed) for name in (UNFRAGMENTED, *names)}
    lines = ["collect /proc/cmdline"]
    if fragment:
        lines += [*memory[UNFRAGMENTED], f"fragment {fragment}"]
    lines += memory[names[0]]
    for parameters, name in zip(loads, names[1:-1], strict=True):
        lines += [f"load {parameters}", *memory[name]]
    return [*lines, f"sleep {settle_ms}", *memory[names[-1]], "log"]


def memory_lines(moment: str, lazily_freed: bool) -> list[str]:
    """Return the lines that report the memory at a moment."""
    files = [f"collect {path}" for path in FILES]
    return [f"moment {moment}", *files, *(["lazy"] if lazily_freed else [])]


def init_argv(compiler: str, source: Path, output: Path) -> list[str]:
    """Return the command that compiles init, static and small."""
    flags = ["-static", "-O2", "-Wall", "-Wextra", "-s"]
    return [compiler, *flags, "-o", str(output), str(source)]


def ensure_init(cache: Path, runner: Runner, arch: Architecture = X86_64) -> Path:
    """Return the compiled init, built once per source text and architecture below `cache`.

    Raises ToolError when the compiler fails or is missing.
    """
    return ensure_program("init", INIT_SOURCE.read_bytes(), cache, runner, arch)


def ensure_program(
    name: str, source: bytes, cache: Path, runner: Runner, arch: Architecture = X86_64
) -> Path:
    """Return a small static program compiled from `source`; see `ensure_init`."""
    compiler = f"{arch.cross_prefix()}gcc"
    if shutil.which(compiler) is None:
        raise ToolError(f"{name}.c: {compiler} is missing\n  next: {arch.how_to_install()}")
    digest = hashlib.sha256(source + compiler.encode()).hexdigest()[:16]
    program = cache / "guest" / f"{name}-{digest}"
    return compile_once(
        program,
        {f"{name}.c": source},
        lambda folder, output: init_argv(compiler, folder / f"{name}.c", output),
        f"{name}.c",
        runner,
    )
