"""The sandbox: a contained build sees its tree and the toolchain, but no home and no network.

A kernel build executes code of the tree's author: Kconfig runs `$(shell,...)`, Makefiles run any
program, and `.incbin` embeds any file that the compiler can read into a kernel whose log goes into
a page. The first of `METHODS` that works here is used. A probe verifies each: it must not see an
existing file, process and network device outside.

`is_contained` alone decides whether a build is contained.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.cache import cache_folder
from harness.errors import InputError, ToolError
from harness.process import Runner
from harness.scratch import scratch_folder
from harness.spec.kernel import KernelSpec

VARIABLE = "VMAPBENCH_SANDBOX"
"""`required`: every build is contained, regardless of its kernel file."""
DEADLINE_S = 3 * 3600.0
"""Time limit of a contained build; a build from nothing takes minutes."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_KEPT = ("LANG", "LC_ALL", "MAKEFLAGS", "TERM")
_INSIDE = "/tmp"  # noqa: S108  an empty file system inside the sandbox


@dataclass(frozen=True)
class SandboxPaths:
    """What a contained program can access besides the system's programs and libraries."""

    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()


def is_contained(spec: KernelSpec | None = None) -> bool:
    """Return whether programs of the tree of `spec` run in a sandbox only.

    Its kernel file or VARIABLE can require it; without `spec` only the latter. Raises InputError
    for a value of the variable other than `required` and `none`.
    """
    wanted = os.environ.get(VARIABLE) or "none"
    if wanted not in ("none", "required"):
        raise InputError(f"{VARIABLE}={wanted}: expected required or none")
    return "required" in (spec and spec.sandbox, wanted)


def contained_argv(
    argv: Sequence[str],
    view: SandboxPaths,
    runner: Runner,
    path: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the command that runs `argv` in a sandbox. Raises ToolError if there is none here.

    `path`: PATH instead of the caller's; `environment`: further variables. The program starts in
    the current folder if it is visible inside. The sandbox and all in it end with its parent.
    """
    return require_sandbox(runner).wrap(argv, view, {**_environment(path), **(environment or {})})


@dataclass(frozen=True)
class Method:
    """A program that contains others, its Debian package, and how to call it."""

    program: str
    package: str
    wrap: Callable[[Sequence[str], SandboxPaths, Mapping[str, str]], list[str]]


def can_contain(runner: Runner) -> bool:
    """Return whether this machine has a sandbox."""
    return isinstance(_found(runner), Method)


def require_sandbox(runner: Runner) -> Method:
    """Return the method that works on this machine, probed once per process.

    Raises ToolError with the reason for each method if none works.
    """
    found = _found(runner)
    if isinstance(found, Method):
        return found
    reasons = "; ".join(f"{program}: {reason}" for program, reason in found.items())
    raise ToolError(
        f"this machine cannot contain a build: {reasons}\n"
        "  next: apt-get install bubblewrap, and allow user namespaces; or set `sandbox: none` "
        "if you trust the author of the tree"
    )


def _found(runner: Runner) -> Method | dict[str, str]:
    place = os.environ.get("PATH", os.defpath)
    if place not in _FOUND:
        _FOUND[place] = _find_method(runner)
    return _FOUND[place]


def _find_method(runner: Runner) -> Method | dict[str, str]:
    refusals = {}
    for method in METHODS:
        refusals[method.program] = refusal_of(method, runner)
        if not refusals[method.program]:
            return method
    return refusals


_FOUND: dict[str, Method | dict[str, str]] = {}  # by PATH: the method, or why each one fails


def _environment(path: str | None) -> dict[str, str]:
    """Return the environment inside, without tokens, keys or addresses of the caller's.

    ccache is off, since a shared cache would pass objects of a contained build to other builds.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    search = path or os.environ.get("PATH", os.defpath)
    fixed = {"HOME": _INSIDE, "CCACHE_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, "PATH": search, **fixed}


def _readable(view: SandboxPaths) -> list[Path]:
    # tuxmake runs under this Python in the sandbox, too
    python = (Path(sys.base_prefix), Path(sys.prefix))
    return [path for path in (*map(Path, _SETTINGS), *python, *view.readable) if path.exists()]


def _bubblewrap(
    argv: Sequence[str], view: SandboxPaths, environment: Mapping[str, str]
) -> list[str]:
    options = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
    ]
    options += ["--tmpfs", _INSIDE, "--proc", "/proc", "--dev", "/dev", "--clearenv"]
    for name in _SYSTEM:
        if Path(name).is_symlink():
            options += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            options += ["--ro-bind", name, name]
    for path in _readable(view):
        options += ["--ro-bind", str(path), str(path)]
    for path in view.writable:
        options += ["--bind", str(path), str(path)]
    for name, value in environment.items():
        options += ["--setenv", name, value]
    return [*options, "--", *argv]


# systemd starts the unit, so it does not end with us unless this shell ends it: on SIGTERM, which
# comes from the runner or, by setpriv, when the harness dies.
_UNIT = (
    "unit=vmapbench-build-$$.service; trap 'systemctl kill -s KILL \"$unit\"' TERM; "
    'exec 3<&0; systemd-run --unit="$unit" "$@" <&3 & wait $!'  # & alone would redirect the input
)
_PROPERTIES = (
    *("TemporaryFileSystem=/:ro", f"TemporaryFileSystem={_INSIDE}", "PrivateDevices=yes"),
    *("PrivateNetwork=yes", "PrivateIPC=yes", "PrivatePIDs=yes", "ProtectProc=invisible"),
    *("ProtectKernelTunables=yes", "ProtectControlGroups=yes", "RestrictNamespaces=yes"),
    *("CapabilityBoundingSet=", "NoNewPrivileges=yes", f"RuntimeMaxSec={DEADLINE_S:.0f}"),
)


def _systemd(argv: Sequence[str], view: SandboxPaths, environment: Mapping[str, str]) -> list[str]:
    properties = list(_PROPERTIES)
    system = [Path(name) for name in _SYSTEM if Path(name).is_dir()]
    properties += [f"BindReadOnlyPaths={path}" for path in (*system, *_readable(view))]
    properties += [f"BindPaths={path}" for path in view.writable]
    options = ["--quiet", "--wait", "--pipe", "--collect", "--no-ask-password"]
    options += [f"--uid={os.geteuid()}", f"--gid={os.getegid()}"]
    options += [f"--property={one}" for one in properties]
    options += [f"--setenv={name}={value}" for name, value in environment.items()]
    death_signal = ["setpriv", "--pdeathsig", "TERM", "--", "sh", "-c", _UNIT, "sh"]
    return [*death_signal, *options, "--", *(word.replace("$", "$$") for word in argv)]


METHODS = (
    Method("bwrap", "bubblewrap", _bubblewrap),
    Method("systemd-run", "systemd", _systemd),
)

_PROBE = (
    "test ! -e {secret} && test -w {own} && test ! -w /usr "
    "&& ! grep -qv -e lo: -e '|' /proc/net/dev "
    "&& read -r pid rest </proc/self/stat && test $pid = $$ "
    "&& test $(readlink /proc/self/ns/pid) != {namespace} && echo contained"
)


def refusal_of(method: Method, runner: Runner) -> str:
    """Return why a method does not work here, empty if it does."""
    if shutil.which(method.program) is None:
        return f"not installed (package {method.package})"
    # in the cache, since a sandbox with its own /tmp hides everything in /tmp
    with scratch_folder("sandbox", cache_folder()) as folder:
        secret, own = folder / "secret", folder / "own"
        secret.write_text("secret", encoding="ascii")
        own.mkdir()
        values = {
            "secret": shlex.quote(str(secret)),
            "own": shlex.quote(str(own)),
            "namespace": shlex.quote(str(Path("/proc/self/ns/pid").readlink())),
        }
        argv = method.wrap(
            ["sh", "-c", _PROBE.format(**values)], SandboxPaths((own,)), _environment(None)
        )
        done = runner.run(argv, deadline_s=60)
    shown = "it does not hide the host" if done.returncode == 1 else "no message"
    said = done.output.strip().splitlines() or [f"{shown} (exit status {done.returncode})"]
    return "" if done.returncode == 0 and said == ["contained"] else said[-1]
