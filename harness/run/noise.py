"""The disturbance of the host during a boot, compared with limits.

Counters of /proc and /sys are read before and after each boot. A boot over a limit
(`Verdict.NOISY`) gives no samples, is listed, and is repeated a limited number of times.
"""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.spec.playbook import NoiseLimits

PROGRAMS_NAMED = 3
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SHARE_NAMED = 0.005  # of the CPU time; programs with less are not named
_FIRST = 1  # process id of init, which reaps orphans
_STEP = 0.05  # of suggested limits


@dataclass(frozen=True)
class Process:
    """A process as in proc(5), stat. `name`: of its program, without arguments.

    `reaped_s`: CPU time of its ended children, and of theirs. `start`: start time, which with the
    process id identifies it.
    """

    name: str
    parent: int
    start: int
    cpu_s: float
    reaped_s: float


@dataclass(frozen=True)
class HostState:
    """Counters of the host at one moment. Times in seconds of CPU, summed over CPUs."""

    busy_s: float
    steal_s: float
    load_1min: float
    throttles: int  # thermal throttling events since boot, summed over CPUs
    governors: tuple[str, ...]
    frequency_khz: tuple[int, ...]
    other_users: int = 0  # users (uid 1000 and up) other than ours with processes
    processes: Mapping[int, Process] = field(default_factory=dict)


@dataclass(frozen=True)
class Noise:
    """Disturbance between two states; shares are of `elapsed_s` x the host's CPUs."""

    other_share: float  # CPU time of programs other than QEMU and the harness
    steal_share: float
    throttles: int
    load_before: float
    governors: tuple[str, ...]
    frequency_khz: tuple[int, ...]
    other_users: int  # only their CPU time makes a boot noisy
    programs: tuple[tuple[str, float], ...] = ()  # name and share of those that took most

    def excess(self, limits: NoiseLimits) -> str:
        """Return which limits were exceeded, as text; empty if none was."""
        over = []
        if self.other_share > limits.other_share:
            names = ", ".join(f"{name} {share:.0%}" for name, share in self.programs)
            over.append(
                f"other programs used {self.other_share:.0%} of the CPU time "
                f"({names or 'none is visible from here'})"
            )
        if self.steal_share > limits.steal_share:
            over.append(f"the hypervisor stole {self.steal_share:.1%} of the CPU time")
        if self.throttles > limits.throttles:
            over.append(f"{self.throttles} thermal throttling events")
        return "; ".join(over)

    def limits_needed(self, limits: NoiseLimits) -> dict[str, float]:
        """Return the exceeded limits with the values at which this boot would not be noisy."""
        shares = {"other_share": self.other_share, "steal_share": self.steal_share}
        needed: dict[str, float] = {
            name: round((math.floor(share / _STEP) + 1) * _STEP, 2)
            for name, share in shares.items()
            if share > getattr(limits, name)
        }
        if self.throttles > limits.throttles:
            needed["throttles"] = self.throttles
        return needed

    def facts(self) -> Mapping[str, Any]:
        """Return the values that are stored with the boot."""
        return asdict(self)


def read_host_state(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> HostState:
    """Return the host's counters; unknown ones are 0 or left out."""
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
        other_users=len(_user_ids(proc) - {os.getuid()}),
        processes=_processes(proc),
    )


def noise_between(
    before: HostState,
    after: HostState,
    own_s: float,
    elapsed_s: float,
    cpus: int,
    own_pid: int | None = None,
) -> Noise:
    """Return the disturbance of a boot that took `own_s` seconds of CPU itself.

    `own_pid`: that process (default: this one) and its descendants are not counted as others.
    """
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
        programs=_largest_programs(before, after, whole_s, own_pid or os.getpid()),
    )


def noise_advice(facts: Iterable[Mapping[str, Any]]) -> str:
    """Return advice on noisy boots. `facts`: of all boots, including quiet ones."""
    needed: dict[str, float] = {}
    for boot in facts:
        for name, limit in (boot.get("noise_limits_needed") or {}).items():
            needed[name] = max(limit, needed.get(name, 0))
    limits = ", ".join(f"{name}: {limit:g}" for name, limit in needed.items())
    return (
        "  a noisy boot gives no samples and is repeated a few times; what helps:\n"
        "  - end these programs, or measure when nothing else runs here\n"
        f"  - allow it: write  noise: {{{limits}}}  in the playbook; its page will show that\n"
        "  - use  kind: simulated  as the target: other programs do not change its times"
    )


def _largest_programs(
    before: HostState, after: HostState, whole_s: float, own_pid: int
) -> tuple[tuple[str, float], ...]:
    """Return the programs other than ours that used most CPU time, and their shares.

    The time of a process that has ended is in that of its parent's children, and so is counted for
    the parent, without what it used before `before`.
    """
    earlier_s: dict[int, float] = {}
    for pid, process in before.processes.items():
        accounting_pid = _accounting_pid(pid, before.processes, after.processes)
        earlier_s[accounting_pid] = (
            earlier_s.get(accounting_pid, 0.0) + process.cpu_s + process.reaped_s
        )
    taken_s: dict[str, float] = {}
    missing_s = 0.0  # of orphans that ended, which is added to the first process
    for pid, process in sorted(after.processes.items(), reverse=True):
        now_s = process.cpu_s + process.reaped_s - earlier_s.get(pid, 0.0)
        missing_s += max(0.0, -now_s)
        if pid == _FIRST:
            now_s -= missing_s
        if not _is_ours(pid, after.processes, own_pid):
            taken_s[process.name] = taken_s.get(process.name, 0.0) + max(0.0, now_s)
    shares = {name: seconds / whole_s for name, seconds in taken_s.items()}
    largest = sorted(shares.items(), key=lambda item: -item[1])[:PROGRAMS_NAMED]
    return tuple((name, round(share, 4)) for name, share in largest if share >= _SHARE_NAMED)


def _accounting_pid(pid: int, before: Mapping[int, Process], after: Mapping[int, Process]) -> int:
    """Return the process that has the time of `pid`: itself or an ancestor; 0: none."""
    for _ in before:
        if pid not in before:
            break
        if pid in after and after[pid].start == before[pid].start:
            return pid
        pid = before[pid].parent
    return 0


def _is_ours(pid: int, processes: Mapping[int, Process], own_pid: int) -> bool:
    """Return whether a process is `own_pid` or descends from it."""
    for _ in processes:  # ids may form a loop if a parent ended between two readings
        if pid == own_pid:
            return True
        if pid not in processes:
            return False
        pid = processes[pid].parent
    return False


def _processes(proc: Path) -> dict[int, Process]:
    """Return all processes that can be seen, by process id."""
    found = {}
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(IndexError, ValueError):  # it has just ended
            # The name is in parentheses and may contain parentheses (proc(5), stat).
            head, _, tail = _read(folder / "stat").rpartition(")")
            fields = tail.split()  # from the third field on
            found[int(folder.name)] = Process(
                name="".join(c if c.isprintable() else "?" for c in head.partition("(")[2]),
                parent=int(fields[1]),
                start=int(fields[19]),
                cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
                reaped_s=(int(fields[13]) + int(fields[14])) / _TICKS_PER_S,
            )
    return found


def own_cpu_s() -> float:
    """Return the CPU time of the harness and of its children that have ended, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _user_ids(proc: Path) -> set[int]:
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
