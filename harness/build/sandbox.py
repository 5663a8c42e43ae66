"""What a build may see: its own tree and the toolchain; no home, no secrets, no network.

A kernel build is a program of whoever wrote the tree: Kconfig runs `$(shell,...)`, Makefiles run
what they like, and `.incbin` embeds any file that the compiler can read into a kernel whose log
goes into a page. bubblewrap contains it where the kernel allows user namespaces (or for root). It
is not believed on its word: a probe has to fail to see a file and a network device that are there.
"""

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ToolError
from harness.process import Runner

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_KEPT = ("LANG", "LC_ALL", "MAKEFLAGS", "TERM")
_INSIDE = "/tmp"  # noqa: S108  an empty file system of the sandbox's own
DEADLINE_S = 3 * 3600.0
"""The longest that a contained build may take; a build from nothing takes minutes."""


@dataclass(frozen=True)
class View:
    """What the program sees besides the system's programs and libraries."""

    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()


def contained_argv(argv: Sequence[str], view: View, environment: Mapping[str, str]) -> list[str]:
    """Return `argv` inside bubblewrap. It dies with its parent, and everything in it with it."""
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    words += ["--tmpfs", _INSIDE, "--proc", "/proc", "--dev", "/dev", "--clearenv"]
    for name in _SYSTEM:
        if Path(name).is_symlink():
            words += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            words += ["--ro-bind", name, name]
    # tuxmake runs under this Python, also in the sandbox
    python = (Path(sys.base_prefix), Path(sys.prefix))
    for path in (*map(Path, _SETTINGS), *python, *view.readable):
        if path.exists():
            words += ["--ro-bind", str(path), str(path)]
    for path in view.writable:
        words += ["--bind", str(path), str(path)]
    for name, value in environment.items():
        words += ["--setenv", name, value]
    return [*words, "--", *argv]


def contained_environment(extra: Mapping[str, str], path: str | None) -> dict[str, str]:
    """Return the environment of a contained build: no token, key or address of the caller's.

    `path`: a PATH instead of the caller's. ccache is off: a store shared with a contained build
    would hand its objects to other builds.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    search = path or os.environ.get("PATH", os.defpath)
    return {**kept, "PATH": search, "HOME": _INSIDE, "CCACHE_DISABLE": "1", **extra}


def require_sandbox(runner: Runner) -> None:
    """Raise ToolError where this machine cannot contain a build."""
    if reason := _refusal(runner):
        raise ToolError(
            f"this machine cannot contain a build: {reason}\n"
            "  next: apt-get install bubblewrap, and allow user namespaces; or, where whoever "
            "wrote the tree may run programs here, say `sandbox: none`"
        )


def _refusal(runner: Runner) -> str:
    """Return why a program cannot be contained here, empty where it can."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed"
    with tempfile.TemporaryDirectory(prefix=".vmapbench-sandbox-", dir=Path.home()) as name:
        secret, own = Path(name, "secret"), Path(name, "own")
        secret.write_text("secret", encoding="ascii")
        own.mkdir()
        script = (
            f"test ! -e {shlex.quote(str(secret))} && test -w {shlex.quote(str(own))} "
            "&& ! grep -qv -e lo: -e '|' /proc/net/dev && echo contained"
        )
        view, environment = View((own,)), contained_environment({}, None)
        done = runner.run(contained_argv(["sh", "-c", script], view, environment), deadline_s=60)
    said = done.output.strip().splitlines() or ["it shows what it should hide"]
    return "" if done.returncode == 0 and said == ["contained"] else said[-1]
