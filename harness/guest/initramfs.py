"""The guest's initramfs: the init program, the module, and the script of one boot.

An initramfs is a sequence of cpio archives in the `newc` format
(Documentation/driver-api/early-userspace/buffer-format.rst). The first archive, of about 2 MB, is
the same for all boots of a kernel and workload; a small second one has the script of the boot.
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
    """A file, directory or device node of an archive; `mode` as in stat(2)."""

    path: str
    mode: int
    content: bytes = b""
    device: tuple[int, int] = (0, 0)  # major, minor


def render_cpio(entries: Iterable[CpioEntry]) -> bytes:
    """Return a newc archive of `entries`, padded to 512 bytes; equal entries give equal bytes."""
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
    """Return the archive that all boots of a kernel and workload share.

    `fragment`: the module that fragments memory, if the workload uses it.
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
    """Return the archive with the script of one boot, to append to `base_archive`."""
    return render_cpio([CpioEntry("vmapbench/script", stat.S_IFREG | 0o644, script.encode())])


def new_nonce() -> str:
    """Return 16 random bytes in hex, so that no line of a kernel log looks like a frame."""
    return secrets.token_hex(16)


def render_script(nonce: str, lines: Sequence[str], arch: Architecture = X86_64) -> str:
    """Return the script that init runs. Raises ValueError if a line has a line end or NUL."""
    for line in lines:
        if "\n" in line or "\0" in line:
            raise ValueError(f"a line of the script contains a line end or NUL: {line!r}")
    return "\n".join([f"report {arch.report}", f"nonce {nonce}", *lines, ""])


def measuring_script(
    loads: Sequence[str], settle_ms: int = 500, lazily_freed: bool = True, fragment: str = ""
) -> list[str]:
    """Return the script of a measured boot: one load of the module after the other, then the log.

    Memory is read before the first load, after each load, and `settle_ms` after the last one.
    `loads`: module parameters of each load; `fragment`: those of the module that fragments memory
    first, "" for none; `lazily_freed`: count the lazily freed areas as well.
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
    """Return the script lines that read the files of `FILES` under the name `moment`."""
    files = [f"collect {path}" for path in FILES]
    return [f"moment {moment}", *files, *(["lazy"] if lazily_freed else [])]


def init_argv(compiler: str, source: Path, output: Path) -> list[str]:
    """Return the command that compiles `source` into a stripped static program."""
    flags = ["-static", "-O2", "-Wall", "-Wextra", "-s"]
    return [compiler, *flags, "-o", str(output), str(source)]


def ensure_init(cache: Path, runner: Runner, arch: Architecture = X86_64) -> Path:
    """Return the path of the compiled init program; see `ensure_program`."""
    return ensure_program("init", INIT_SOURCE.read_bytes(), cache, runner, arch)


def ensure_program(
    name: str, source: bytes, cache: Path, runner: Runner, arch: Architecture = X86_64
) -> Path:
    """Return the path of a static program, compiled once per `source` and architecture in `cache`.

    Raises ToolError if the compiler is missing or fails.
    """
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
