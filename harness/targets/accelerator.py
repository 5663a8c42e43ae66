"""Whether Linux runs under KVM on this host, as far as known.

On some machines (nested virtualisation, software KVM) /dev/kvm opens, creates a machine, even runs
a few instructions, and then no Linux ever prints a byte. So there are two tests. The probe guest is
a firmware image of a few instructions that end QEMU (see `Probe` in harness/spec/architecture.py).
A real kernel that reaches its init is the other, and only that one is a proof; a first boot gives
it (see `harness.targets.qemu.target`).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from harness.errors import ToolError
from harness.files import replace_file
from harness.process import Runner, host_boot_id
from harness.spec.architecture import X86_64, Architecture

KVM_DEVICE = Path("/dev/kvm")
_MEMORY = "kvm.json"  # in the cache
PROBE_DEADLINE_S = 10.0
# How long a guest under KVM may print nothing as long as no Linux has run under it, in seconds.
FIRST_OUTPUT_S = 30.0
FIRST_OUTPUT_SOFTWARE_S = 10.0  # where the CPU has no virtualisation of its own: a software KVM
_PROBE_CPUS = 2


class KvmState(StrEnum):
    """What is known of KVM on this host, from worst to best."""

    NO_DEVICE = "no device"
    NO_GUEST = "no guest runs"  # not even the probe guest
    NO_LINUX = "Linux does not run"
    UNTRIED = "Linux not tried"
    RUNS_LINUX = "Linux runs"


@dataclass(frozen=True)
class Kvm:
    """What is known of KVM, and for which boot of the host, QEMU and guest machine it holds.

    `seen`: the observation behind the state, as text.
    """

    state: KvmState
    seen: str
    boot_id: str
    qemu: str
    guest: str

    @property
    def usable(self) -> bool:
        """Whether a boot under KVM is worth trying."""
        return self.state in (KvmState.UNTRIED, KvmState.RUNS_LINUX)


def probe_argv(
    accelerator: str, image: Path, arch: Architecture = X86_64, cpu_model: str = ""
) -> list[str]:
    """Return the command of the probe guest; `cpu_model`: instead of the usual one."""
    model = cpu_model or arch.cpu_model_for(accelerator)
    return [
        *[arch.qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *["-machine", arch.machine_for(_PROBE_CPUS, accelerator), "-cpu", model],
        *["-smp", str(_PROBE_CPUS), "-m", "16", "-accel", accelerator, "-bios", str(image)],
        *(arch.probe.options if arch.probe else ()),
    ]


def probe_accelerator(
    accelerator: str,
    cache: Path,
    runner: Runner,
    arch: Architecture = X86_64,
    cpu_model: str = "",
    deadline_s: float = PROBE_DEADLINE_S,
) -> tuple[bool, str]:
    """Boot the probe guest; return whether it ran to its end, and why (not).

    Returns True where the architecture has no probe guest.
    """
    if arch.probe is None:
        return True, f"no probe guest for {arch.name}"
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / f"probe-{arch.name}.bin"
    image.write_bytes(arch.probe.image())
    argv = probe_argv(accelerator, image, arch, cpu_model)
    done = runner.run(argv, deadline_s=deadline_s)
    if done.timed_out:
        return False, f"a probe guest did not end within {deadline_s:g} s"
    if done.returncode != arch.probe.status:
        lines = [line for line in done.output.splitlines() if line and "warning:" not in line]
        return False, f"QEMU exited with {done.returncode}: {(lines or ['no message'])[0]}"
    return True, f"a probe guest booted in {done.elapsed_s:.1f} s"


def qemu_version(runner: Runner, arch: Architecture = X86_64) -> tuple[int, int, int]:
    """Return the version of the QEMU on PATH. Raises ToolError where there is none."""
    try:
        done = runner.run([arch.qemu, "--version"], deadline_s=20, check=True)
    except ToolError as error:
        raise ToolError(f"{error}\n  next: {arch.how_to_install()}") from error
    word = done.output.split("version ", 1)[-1].split()[0]
    try:
        major, minor, micro = (int(part) for part in word.split(".")[:3])
    except ValueError as error:
        raise ToolError(f"{arch.qemu} --version: cannot read {done.output[:80]!r}") from error
    return major, minor, micro


def find_kvm(cache: Path, runner: Runner, arch: Architecture = X86_64, cpu_model: str = "") -> Kvm:
    """Return what is known of KVM; the first call of a boot of the host runs the probe guest.

    `cpu_model`: instead of the usual one. Raises ToolError where there is no QEMU.
    """
    device, model = KVM_DEVICE, cpu_model or arch.cpu_model_for("kvm")
    asked = Kvm(
        KvmState.NO_DEVICE,
        f"there is no {device}",
        host_boot_id(),
        ".".join(map(str, qemu_version(runner, arch))),
        f"{arch.machine_for(_PROBE_CPUS, 'kvm')} {model}",
    )
    if not arch.is_native():
        return replace(asked, seen=f"KVM runs no {arch.name} on {os.uname().machine}")
    if not device.exists():
        return asked
    if not os.access(device, os.R_OK | os.W_OK):
        return replace(asked, seen=f"{device} may not be opened by this user")
    known = _remembered(cache)
    if known and replace(known, state=asked.state, seen=asked.seen) == asked:
        return known
    works, seen = probe_accelerator("kvm", cache, runner, arch, cpu_model)
    found = replace(asked, state=KvmState.UNTRIED if works else KvmState.NO_GUEST, seen=seen)
    return remember_kvm(found, cache)


def remember_kvm(kvm: Kvm, cache: Path) -> Kvm:
    """Keep what is known until the host boots again, or QEMU or the guest machine changes."""
    cache.mkdir(parents=True, exist_ok=True)
    replace_file(cache / _MEMORY, json.dumps(asdict(kvm)))
    return kvm


def forget_kvm(cache: Path) -> None:
    """Have the next `find_kvm` probe again."""
    (cache / _MEMORY).unlink(missing_ok=True)


def _remembered(cache: Path) -> Kvm | None:
    try:
        kept = json.loads((cache / _MEMORY).read_text(encoding="utf-8"))
        return Kvm(**{**kept, "state": KvmState(kept["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # never asked, or an unreadable answer


def first_output_s(cpu_flags: Sequence[str], arch: Architecture = X86_64) -> float:
    """Return how long a guest may print nothing on a host whose KVM has not run Linux yet."""
    hardware = not arch.kvm_flags or set(arch.kvm_flags) & set(cpu_flags)
    return FIRST_OUTPUT_S if hardware else FIRST_OUTPUT_SOFTWARE_S


def host_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the flags of this host's first CPU; none where they cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])
