"""Runs tuxmake, which runs make and keeps the provenance record (metadata.json)."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.tree import OBJECTS
from harness.errors import InfrastructureError, KernelBuildError, ToolError
from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture

_STEP = re.compile(r"^  [A-Z][A-Z0-9_]+(?: \[M\])? +\S")
_FIRST_ERROR = re.compile(
    r"^.*(?::\d+(?::\d+)?: (?:fatal )?error: |undefined reference to|: command not found"
    r"|: not found|\berror: |^E: ).*$",
    re.MULTILINE | re.IGNORECASE,
)
# When the harness dies, this shell gets SIGTERM (the runner's own setpriv would kill it without
# notice) and ends its process group: tuxmake, make and the compilers.
_DEATH_SIGNAL = ["setpriv", "--pdeathsig", "TERM", "--"]
_DEATH_SIGNAL += ["sh", "-c", 'trap "kill -KILL 0" TERM; "$@" & wait $!', "sh"]
_MAKE_ERROR = re.compile(r"^.*\*\*\* .*$", re.MULTILINE)


@dataclass(frozen=True)
class Toolchain:
    """A compiler as named in the kernel file, with its version."""

    name: str  # gcc, gcc-12, clang, clang-14
    version: str  # the first lines of the compiler's and the linker's --version
    ccache: bool
    arch: Architecture = X86_64  # it compiles for this

    @property
    def family(self) -> str:
        """Return gcc or clang."""
        return self.name.partition("-")[0]


def probe_toolchain(
    name: str, arch: Architecture, runner: Runner, find: Callable[[str], str | None]
) -> Toolchain:
    """Return the toolchain `name` for `arch` on this machine; `find` is `shutil.which`.

    clang compiles for every architecture, a gcc for one. Raises ToolError.
    """
    prefix = arch.cross_prefix()
    programs = (name, name.replace("clang", "ld.lld"))
    if name.startswith("gcc"):
        programs = (f"{prefix}{name}", f"{prefix}ld")
    lines = []
    for program in programs:
        if find(program) is None:
            raise ToolError(
                f"toolchain {name} for {arch.name}: {program} is missing\n"
                f"  next: {arch.how_to_install() if prefix else 'vmapbench doctor'}"
            )
        lines.append(runner.run([program, "--version"], check=True).output.splitlines()[0])
    return Toolchain(name, "; ".join(lines), find("ccache") is not None, arch)


def shim_compiler(
    toolchain: Toolchain, folder: Path, find: Callable[[str], str | None]
) -> str | None:
    """Return a PATH on which `gcc` is the wanted version, None if it is already.

    tuxmake supports versioned toolchains in containers only; outside them it calls plain gcc.
    """
    if not toolchain.name.startswith("gcc-"):
        return None
    shims = folder / "toolchain"
    shims.mkdir()
    arch, wanted = toolchain.arch, f"{toolchain.arch.cross_prefix()}{toolchain.name}"
    for name in {f"{arch.cross_prefix()}gcc", f"{arch.triplet}-gcc"}:
        (shims / name).symlink_to(find(wanted) or wanted)
    return f"{shims}:{os.environ.get('PATH', os.defpath)}"


def tuxmake_argv(
    toolchain: Toolchain,
    tree: Path,
    output: Path,
    target: str,
    environment: Mapping[str, str],
    kconfig: Sequence[str] = ("allnoconfig",),
) -> list[str]:
    """Return the command that builds `target` ("config" or "default") of `tree`.

    `kconfig`: a target or file that configures it, and further targets. `KCFLAGS` is emptied:
    tuxmake would put the folder's absolute path into every compiler command, and a copied tree
    would be rebuilt.
    """
    argv = [sys.executable, "-m", "tuxmake", "--verbose", "--fail-fast"]
    argv.append(f"--target-arch={toolchain.arch.name}")
    argv += [f"--directory={tree}", f"--build-dir={tree / OBJECTS}", f"--output-dir={output}"]
    argv += [f"--toolchain={toolchain.family}", f"--kconfig={kconfig[0]}"]
    argv += [f"--kconfig-add=make:{more}" for more in ("olddefconfig", *kconfig[1:])]
    argv += ["--wrapper=ccache"] if toolchain.ccache else []
    argv += [f"--environment={key}={value}" for key, value in environment.items()]
    if toolchain.name.startswith("clang-"):
        argv.append(f"LLVM={toolchain.name.removeprefix('clang')}")
    return [*argv, target]


def run_tuxmake(
    argv: list[str],
    log: Path,
    runner: Runner,
    on_target: Callable[[int], None],
    path: str | None = None,
    deadline_s: float | None = None,
) -> int:
    """Run `argv` and return the number of targets made; `on_target` gets it during the build.

    `path`: a PATH whose first folder may hold the wanted compiler. Raises KernelBuildError with the
    compiler's first error or after `deadline_s`, InfrastructureError if the disk is full.
    """
    made = 0

    def count(line: str) -> None:
        nonlocal made
        if _STEP.match(line):
            made += 1
            on_target(made)

    environment = {"PYTHONUNBUFFERED": "1", **({"PATH": path} if path else {})}
    arguments = [*_DEATH_SIGNAL, *argv]
    done = runner.run(arguments, env=environment, log=log, on_line=count, deadline_s=deadline_s)
    if done.timed_out:
        raise KernelBuildError(f"the build was ended after {deadline_s:.0f} s")
    if done.returncode and "No space left on device" in done.output:
        raise InfrastructureError(f"building the kernel: the disk of {log.parent} is full")
    if done.returncode:
        raise KernelBuildError(first_error(done.output))
    return made


def first_error(output: str) -> str:
    """Return the first error of a build, by the compiler if there is one, else by make."""
    found = _FIRST_ERROR.search(output) or _MAKE_ERROR.search(output)
    return found[0].strip() if found else "the build failed without an error message"
