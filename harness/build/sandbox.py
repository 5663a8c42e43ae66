"""What a build may see: its own tree and the toolchain; no home, no secrets, no network.

A kernel build is a program of the author of the tree: Kconfig runs `$(shell,...)`, Makefiles run
what they like, and `.incbin` embeds any file that the compiler can read into a kernel whose log
goes into a page. What contains it is in `METHODS`; the first that works here is taken. None is
believed on its word: a probe has to fail to see a file, a process and a network device that exist.

Whether a build is contained is decided in `is_contained` alone.
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
"""`required`: every build is contained, whatever its kernel file says."""
DEADLINE_S = 3 * 3600.0
"""The longest that a contained build may take; a build from nothing takes minutes."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_KEPT = ("LANG", "LC_ALL", "MAKEFLAGS", "TERM")
_INSIDE = "/tmp"  # noqa: S108  an empty file system of the sandbox's own


@dataclass(frozen=True)
class SandboxPaths:
    """What the program sees besides the system's programs and libraries."""

    writable: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()


def is_contained(spec: KernelSpec | None = None) -> bool:
    """Return whether the programs of the tree of `spec` run in a sandbox only.

    Either its kernel file asks for it or the variable does, which alone counts without `spec`.
    Raises InputError for a value of the variable that is neither `required` nor `none`.
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
    """Return `argv` as it runs in a sandbox. Raises ToolError where this machine has none.

    `path`: a PATH instead of the caller's; `environment`: more variables. The program starts in the
    current folder where that is in sight. The sandbox ends with its parent, and everything in it.
    """
    return require_sandbox(runner).wrap(argv, view, {**_environment(path), **(environment or {})})


@dataclass(frozen=True)
class Method:
    """A program that contains others: its name, its Debian package, how it is called."""

    program: str
    package: str
    wrap: Callable[[Sequence[str], SandboxPaths, Mapping[str, str]], list[str]]


def can_contain(runner: Runner) -> bool:
    """Return whether this machine has a sandbox, for what is contained wherever one is."""
    return isinstance(_found(runner), Method)


def require_sandbox(runner: Runner) -> Method:
    """Return what contains builds here, found once per process.

    Raises ToolError with the reason of each method that does not work on this machine.
    """
    found = _found(runner)
    if isinstance(found, Method):
        return found
    reasons = "; ".join(f"{program}: {reason}" for program, reason in found.items())
    raise ToolError(
        f"this machine cannot contain a build: {reasons}\n"
        "  next: apt-get install bubblewrap, and allow user namespaces; or, where the "
        "author of the tree may run programs here, say `sandbox: none`"
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


_FOUND: dict[str, Method | dict[str, str]] = {}  # by PATH: the method, or why there is none


def _environment(path: str | None) -> dict[str, str]:
    """Return the environment inside: no token, key or address of the caller's.

    ccache is off: a store shared with a contained build would hand its objects to other builds.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    search = path or os.environ.get("PATH", os.defpath)
    fixed = {"HOME": _INSIDE, "CCACHE_DISABLE": "1", "PYTHONUNBUFFERED": "1"}
    return {**kept, "PATH": search, **fixed}


def _readable(view: SandboxPaths) -> list[Path]:
    # tuxmake runs under this Python, also in the sandbox
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


# systemd's own process starts the unit, so it does not end with us unless this shell ends it: on
# SIGTERM, which it gets from the runner and, by setpriv, when the harness dies.
_UNIT = (
    "unit=vmapbench-build-$$.service; trap 'systemctl kill -s KILL \"$unit\"' TERM; "
    'exec 3<&0; systemd-run --unit="$unit" "$@" <&3 & wait $!'  # & alone would take the input away
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
    """Return why a method contains nothing here, empty where it does."""
    if shutil.which(method.program) is None:
        return f"not installed (package {method.package})"
    # in the cache: what is in /tmp, a sandbox with a /tmp of its own hides by chance
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
    shown = "it shows what it should hide" if done.returncode == 1 else "no message"
    said = done.output.strip().splitlines() or [f"{shown} (exit status {done.returncode})"]
    return "" if done.returncode == 0 and said == ["contained"] else said[-1]
