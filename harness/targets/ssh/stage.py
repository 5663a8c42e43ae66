"""Brings everything that one trial needs onto the host, every file with its digest checked."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from harness.errors import InputError
from harness.guest.initramfs import Entry, ensure_program, render_cpio
from harness.process import Runner
from harness.spec.host import HostSpec
from harness.targets.base import BootRequest
from harness.targets.ssh.boot_method import (
    BootMethod,
    Trial,
    guard_parameters,
    trial_command_line,
)
from harness.targets.ssh.identity import Running
from harness.targets.ssh.shell import Shell

# $1: the guard's archive, $2: the host's initial file system, $3: both; the rest: how to read $2.
_COMBINE = 'guard=$1 host=$2 out=$3; shift 3; { cat "$guard" && "$@" cat "$host"; } >"$out"'


@dataclass(frozen=True)
class Programs:
    """The two programs that run on the host, compiled and static."""

    guard: Path
    load: Path


def ensure_programs(cache: Path, runner: Runner) -> Programs:
    """Return the programs, compiled once. Raises ToolError."""
    source = files("harness.targets.ssh")
    return Programs(
        *(
            ensure_program(name, (source / f"{name}.c").read_bytes(), cache, runner)
            for name in ("guard", "load")
        )
    )


def guard_archive(guard: bytes) -> bytes:
    """Return the archive that goes before the host's initial file system.

    It comes first because the kernel looks for an uncompressed archive at 4-byte boundaries only
    (init/initramfs.c, unpack_to_rootfs), and what follows the host's compressed one is at any.
    """
    folder = stat.S_IFDIR | 0o755
    return render_cpio(
        [Entry("vmapbench", folder), Entry("vmapbench/guard", stat.S_IFREG | 0o755, guard)]
    )


def host_initrd(spec: HostSpec, release: str) -> str:
    """Return the path of the initial file system that mounts the host's root."""
    return spec.boot.initrd or f"/boot/initrd.img-{release}"


def plan_trial(
    spec: HostSpec,
    request: BootRequest,
    nonce: str,
    known_good: str,
    lease_s: int,
    parameters: Sequence[str] = (),
) -> Trial:
    """Return the trial of `request`; `known_good` is the command line of the kernel that runs.

    Raises InputError when the command line is longer than the kernel takes.
    """
    boot = spec.boot
    line = trial_command_line(
        known_good,
        [
            *guard_parameters(nonce, boot.confirm_within_s, lease_s, boot.panic_s),
            *boot.parameters,
            *parameters,
            *request.kernel.spec.boot_parameters,
        ],
    )
    most = request.kernel.spec.arch.command_line_bytes
    if len(line.encode()) > most:
        raise InputError(
            f"the command line is {len(line)} bytes long, a kernel takes {most}: {line}"
        )
    folder = f"{spec.state}/trial"
    return Trial(nonce, f"{folder}/bzImage", f"{folder}/initrd", line)


def stage_trial(
    shell: Shell,
    spec: HostSpec,
    method: BootMethod,
    trial: Trial,
    request: BootRequest,
    running: Running,
    programs: Programs,
) -> None:
    """Copy kernel, module, guard and loader. Raises ToolError (a full disk ...)."""
    folder = f"{spec.state}/trial"
    shell.run(["rm", "-rf", "--", folder], check=True)
    shell.run(["mkdir", "-p", "--", folder], check=True)
    shell.put(request.kernel.image, trial.kernel)
    shell.put(request.kernel.module, f"{folder}/module.ko")
    shell.put(programs.load, f"{folder}/load", 0o755)
    shell.put(guard_archive(programs.guard.read_bytes()), f"{folder}/guard.cpio")
    for name, text in method.texts(trial).items():
        shell.put(text.encode(), f"{folder}/{name}")
    sudo = ("sudo", "-n", "--") if spec.sudo else ()
    initrd = host_initrd(spec, running.release)
    words = ["sh", "-c", _COMBINE, "sh", f"{folder}/guard.cpio", initrd, trial.initrd, *sudo]
    shell.run(words, check=True, timeout_s=300)
