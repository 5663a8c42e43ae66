"""What else the host did during a boot, and whether that was too much.

Read before and after each boot from /proc and /sys; the limits are data. A boot over a limit is
complete, but no sample (`Verdict.NOISY`): it is repeated, up to a bound, and listed.
"""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.spec.playbook import NoiseLimits

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class HostState:
    """Counters of the host at one moment. Times in seconds of CPU, summed over CPUs."""

    busy_s: float
    steal_s: float
    load_1min: float
    throttles: int  # thermal throttling events since boot, summed over CPUs
    governors: tuple[str, ...]
    frequency_khz: tuple[int, ...]
    runnable: int  # processes that wanted a CPU at this moment
    other_users: int = 0  # people (uid 1000 and up) other than ours who have processes


@dataclass(frozen=True)
class Noise:
    """What happened between two states, as shares of `elapsed_s` x the host's CPUs."""

    other_share: float  # CPU time that neither QEMU nor the harness took
    steal_share: float
    throttles: int
    load_before: float
    governors: tuple[str, ...]
    frequency_khz: tuple[int, ...]
    other_users: int  # of them only the CPU time is held against a boot

    def excess(self, limits: NoiseLimits) -> str:
        """Return what was over its limit, in words; empty when nothing was."""
        over = []
        if self.other_share > limits.other_share:
            over.append(f"other programs took {self.other_share:.0%} of the CPU time")
        if self.steal_share > limits.steal_share:
            over.append(f"the hypervisor above took {self.steal_share:.1%} (steal)")
        if self.throttles > limits.throttles:
            over.append(f"{self.throttles} thermal throttling events")
        return "; ".join(over)

    def facts(self) -> Mapping[str, Any]:
        """Return the values that are kept with the boot."""
        return asdict(self)


def read_host_state(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> HostState:
    """Return the host's counters. What a host does not tell counts as 0 or is left out."""
    stat = _read(proc / "stat").splitlines()
    # user nice system idle iowait irq softirq steal guest guest_nice (proc(5)); guest is in user
    ticks = [int(field) for field in stat[0].split()[1:]] if stat else []
    ticks += [0] * (8 - len(ticks))
    busy = sum(ticks[:3]) + sum(ticks[5:7])
    cpus = sorted((sys / "devices/system/cpu").glob("cpu[0-9]*"))
    return HostState(
        busy_s=busy / _TICKS_PER_S,
        steal_s=ticks[7] / _TICKS_PER_S,
        load_1min=float((_read(proc / "loadavg").split() or ["0"])[0]),
        throttles=sum(_number(cpu / "thermal_throttle/core_throttle_count") for cpu in cpus),
        governors=tuple(sorted({_read(cpu / "cpufreq/scaling_governor") for cpu in cpus} - {""})),
        frequency_khz=tuple(
            khz for cpu in cpus if (khz := _number(cpu / "cpufreq/scaling_cur_freq"))
        ),
        runnable=_running_processes(stat),
        other_users=len(_people(proc) - {os.getuid()}),
    )


def noise_between(
    before: HostState, after: HostState, own_s: float, elapsed_s: float, cpus: int
) -> Noise:
    """Return the disturbance of a boot that took `own_s` seconds of CPU itself."""
    whole_s = max(elapsed_s * cpus, 1e-9)
    other_s = after.busy_s - before.busy_s - own_s
    return Noise(
        other_share=max(0.0, other_s / whole_s),
        steal_share=max(0.0, (after.steal_s - before.steal_s) / whole_s),
        throttles=after.throttles - before.throttles,
        load_before=before.load_1min,
        governors=after.governors,
        frequency_khz=after.frequency_khz,
        other_users=max(before.other_users, after.other_users),
    )


def own_cpu_s() -> float:
    """Return the CPU time of the harness and of its children that have ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _running_processes(stat: list[str]) -> int:
    line = next((line for line in stat if line.startswith("procs_running")), "procs_running 1")
    return int(line.split()[1])


def _people(proc: Path) -> set[int]:
    """Return the owners of processes among the uids of people (login.defs: 1000 to 60000)."""
    owners = set()
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            owners.add(process.stat().st_uid)
    return {owner for owner in owners if 1000 <= owner <= 60_000}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _read(path)
    return int(text) if text.isdigit() else 0
