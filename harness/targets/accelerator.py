"""Whether KVM really runs a guest here.

On some machines (nested virtualisation) /dev/kvm opens, reports its API, creates a machine and
hangs in the first instruction, so only a guest that ran proves anything. The probe guest is a
firmware image of one instruction sequence at the reset vector: it ends QEMU through the
isa-debug-exit device with a status that nothing else gives.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import ToolError
from harness.process import Runner

QEMU = "qemu-system-x86_64"
# The machine of every guest. `-hypervisor`: with that CPUID bit and no paravirtual spinlock x86
# takes a test-and-set lock instead of the queued one (arch/x86/include/asm/qspinlock.h,
# virt_spin_lock), which is not what metal does. The probe guest has the same model, since KVM may
# refuse just that.
MACHINE = "q35,hpet=on"
CPU_MODEL = "max,-hypervisor"
PROBE_DEADLINE_S = 10.0
# mov al, 0x10; out 0xf4, al; hlt; jmp back to hlt
_PROBE_CODE = bytes.fromhex("b010 e6f4 f4 ebfd")
_PROBE_STATUS = (0x10 << 1) | 1  # what isa-debug-exit makes of 0x10


@dataclass(frozen=True)
class KvmProbe:
    """The answer, and for which boot of the host and which QEMU it holds."""

    works: bool
    reason: str
    boot_id: str
    qemu: str


def probe_image() -> bytes:
    """Return a 64 KiB firmware image that runs from the x86 reset vector (16 bytes below 4 GiB)."""
    image = bytearray(b"\xf4" * 65536)
    image[-16 : -16 + len(_PROBE_CODE)] = _PROBE_CODE
    return bytes(image)


def probe_argv(accelerator: str, image: Path) -> list[str]:
    """Return the command of the probe guest."""
    return [
        *[QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        *["-machine", MACHINE, "-cpu", CPU_MODEL, "-smp", "2", "-m", "16"],
        *["-accel", accelerator, "-bios", str(image)],
        *["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
    ]


def probe_accelerator(
    accelerator: str, cache: Path, runner: Runner, deadline_s: float = PROBE_DEADLINE_S
) -> tuple[bool, str]:
    """Boot the probe guest; return whether it ran to its end, and why (not)."""
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / "probe.bin"
    image.write_bytes(probe_image())
    done = runner.run(probe_argv(accelerator, image), deadline_s=deadline_s)
    if done.timed_out:
        return False, f"a probe guest did not end within {deadline_s:g} s"
    if done.returncode != _PROBE_STATUS:
        last = done.output.strip().splitlines()[-1:] or ["no message"]
        return False, f"QEMU exited with {done.returncode}: {last[0]}"
    return True, f"a probe guest booted in {done.elapsed_s:.1f} s"


def host_boot_id() -> str:
    """Return an id that changes with every boot of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def qemu_version(runner: Runner) -> tuple[int, int, int]:
    """Return the version of the QEMU on PATH. Raises ToolError where there is none."""
    done = runner.run([QEMU, "--version"], deadline_s=20, check=True)
    word = done.output.split("version ", 1)[-1].split()[0]
    try:
        major, minor, micro = (int(part) for part in word.split(".")[:3])
    except ValueError as error:
        raise ToolError(f"{QEMU} --version: cannot read {done.output[:80]!r}") from error
    return major, minor, micro


def ensure_kvm_probe(cache: Path, runner: Runner, device: Path = Path("/dev/kvm")) -> KvmProbe:
    """Return whether KVM works, asked at most once per boot of the host and version of QEMU."""
    boot_id, qemu = host_boot_id(), ".".join(map(str, qemu_version(runner)))
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmProbe(False, f"{device} cannot be opened", boot_id, qemu)
    remembered = cache / "kvm-probe.json"
    try:
        known = KvmProbe(**json.loads(remembered.read_text(encoding="utf-8")))
        if (known.boot_id, known.qemu) == (boot_id, qemu):
            return known
    except (OSError, ValueError, TypeError):
        pass  # never asked, or an unreadable answer: ask
    probe = KvmProbe(*probe_accelerator("kvm", cache, runner), boot_id, qemu)
    partial = remembered.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(probe)), encoding="utf-8")
    partial.replace(remembered)
    return probe
