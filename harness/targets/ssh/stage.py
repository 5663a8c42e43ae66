"""Copies all files of a trial to the host, and checks their digests."""

import hashlib
import stat
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from harness.errors import InputError
from harness.guest.initramfs import CpioEntry, ensure_program, render_cpio
from harness.process import Runner
from harness.spec.architecture import X86_64, Architecture
from harness.spec.host import HostSpec
from harness.targets.base import BootRequest
from harness.targets.ssh.boot_method import Trial, guard_parameters, trial_command_line
from harness.targets.ssh.shell import COPY_S, Shell


def ensure_guard(cache: Path, runner: Runner, arch: Architecture = X86_64) -> Path:
    """Return the path of the static guard program, compiled once per architecture in `cache`.

    Raises ToolError.
    """
    source = files("harness.targets.ssh") / "guard.c"
    return ensure_program("guard", source.read_bytes(), cache, runner, arch)


def guard_archive(guard: bytes) -> bytes:
    """Return the archive to put before the host's initramfs.

    It comes first, as the kernel looks for uncompressed archives at 4-byte boundaries only
    (init/initramfs.c, unpack_to_rootfs), and the host's compressed one may have any length.
    """
    folder = stat.S_IFDIR | 0o755
    return render_cpio(
        [CpioEntry("vmapbench", folder), CpioEntry("vmapbench/guard", stat.S_IFREG | 0o755, guard)]
    )


def plan_trial(
    spec: HostSpec,
    request: BootRequest,
    nonce: str,
    known_good: str,
    lease_s: int,
    parameters: Sequence[str] = (),
) -> Trial:
    """Return the trial of `request`.

    `known_good`: command line of the known-good kernel; `parameters`: additional boot parameters.
    Raises InputError if the command line is longer than the kernel's limit.
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
            f"the kernel command line has {len(line)} bytes, at most {most} are possible: {line}"
        )
    return Trial(nonce, line)


def stage_trial(shell: Shell, request: BootRequest, guard: Path) -> None:
    """Copy kernel, module and guard to the host. Raises ToolError, as for a full disk."""
    contents = {
        "kernel": request.kernel.image.read_bytes(),
        "module.ko": request.kernel.module.read_bytes(),
        "guard": guard_archive(guard.read_bytes()),
    }
    if request.fragment_module:
        contents["fragment.ko"] = request.fragment_module.read_bytes()
    shell.run(["prepare"], root=True, check=True)
    for name, content in contents.items():
        parts = ["put", name, hashlib.sha256(content).hexdigest()]
        shell.run(parts, root=True, stdin=content, check=True, timeout_s=COPY_S)
