"""Finds out whether Linux runs under KVM on this host.

On some machines (nested virtualisation, software KVM) /dev/kvm can be opened and even runs a few
instructions, but Linux never prints anything. So there are two tests: the probe guest, a firmware
image of a few instructions that end QEMU (`Probe` in harness/spec/architecture.py), and a kernel
that reaches its init. Only the second is a proof; the first boot under KVM gives it (see
`harness.targets.qemu.target`).
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
_MEMORY = "kvm.json"  # in the cache folder
PROBE_DEADLINE_S = 10.0
# Seconds that a guest under KVM may print nothing before Linux is known to run under it.
FIRST_OUTPUT_S = 30.0
FIRST_OUTPUT_SOFTWARE_S = 10.0  # for a CPU without hardware virtualisation: a software KVM
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
    """The state of KVM. Valid for one boot of the host (`boot_id`), one QEMU and one guest machine.

    `seen`: the observation that led to the state, as text.
    """

    state: KvmState
    seen: str
    boot_id: str
    qemu: str
    guest: str

    @property
    def usable(self) -> bool:
        """Whether to try to boot Linux under KVM."""
        return self.state in (KvmState.UNTRIED, KvmState.RUNS_LINUX)


def probe_argv(
    accelerator: str, image: Path, arch: Architecture = X86_64, cpu_model: str = ""
) -> list[str]:
    """Return the QEMU command of the probe guest `image`.

    `cpu_model`: replaces the architecture's.
    """
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
    """Boot the probe guest; return whether it ended by itself, and what was observed.

    Returns True if the architecture has no probe guest.
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
    """Return the version of the QEMU on PATH. Raises ToolError if it is missing."""
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
    """Return the state of KVM; runs the probe guest if none is stored for this boot of the host.

    `cpu_model`: replaces the architecture's. Raises ToolError if QEMU is missing.
    """
    device, model = KVM_DEVICE, cpu_model or arch.cpu_model_for("kvm")
    asked = Kvm(
        KvmState.NO_DEVICE,
        f"{device} does not exist",
        host_boot_id(),
        ".".join(map(str, qemu_version(runner, arch))),
        f"{arch.machine_for(_PROBE_CPUS, 'kvm')} {model}",
    )
    if not arch.is_native():
        return replace(asked, seen=f"KVM on {os.uname().machine} cannot run {arch.name}")
    if not device.exists():
        return asked
    if not os.access(device, os.R_OK | os.W_OK):
        return replace(asked, seen=f"this user has no permission to open {device}")
    known = _remembered(cache)
    if known and replace(known, state=asked.state, seen=asked.seen) == asked:
        return known
    works, seen = probe_accelerator("kvm", cache, runner, arch, cpu_model)
    found = replace(asked, state=KvmState.UNTRIED if works else KvmState.NO_GUEST, seen=seen)
    return remember_kvm(found, cache)


def remember_kvm(kvm: Kvm, cache: Path) -> Kvm:
    """Store the state of KVM in the cache folder and return it; see `Kvm` for how long it holds."""
    cache.mkdir(parents=True, exist_ok=True)
    replace_file(cache / _MEMORY, json.dumps(asdict(kvm)))
    return kvm


def forget_kvm(cache: Path) -> None:
    """Remove the stored state of KVM, so that the next `find_kvm` probes again."""
    (cache / _MEMORY).unlink(missing_ok=True)


def _remembered(cache: Path) -> Kvm | None:
    try:
        kept = json.loads((cache / _MEMORY).read_text(encoding="utf-8"))
        return Kvm(**{**kept, "state": KvmState(kept["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # missing or invalid


def first_output_s(cpu_flags: Sequence[str], arch: Architecture = X86_64) -> float:
    """Return how many seconds a guest may print nothing before KVM has run Linux on this host."""
    hardware = not arch.kvm_flags or set(arch.kvm_flags) & set(cpu_flags)
    return FIRST_OUTPUT_S if hardware else FIRST_OUTPUT_SOFTWARE_S


def host_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the flags of this host's first CPU; empty if they cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])
