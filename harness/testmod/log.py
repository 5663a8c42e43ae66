"""Finds the runs of test_vmalloc in a kernel log of any format. Pure; never raises on a log.

For each worker in turn the module prints a summary per case and then the worker's total
(do_concurrent_test, lib/test_vmalloc.c), so a total belongs to the summaries before it. Prefixes
(time stamps, levels, journal, CRLF, colour) and lines of other drivers are ignored.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.records import Sample
from harness.testmod.cases import CASES
from harness.testmod.prefix import strip_colour
from harness.testmod.rejoin import HEADS, SUMMARY, TOTAL, rejoin_lines


@dataclass(frozen=True)
class WorkerTotal:
    """The duration of a worker's test. `unit`: "cycles" of the time stamp counter, or "nsecs"."""

    worker: int
    value: int
    unit: str = "cycles"


@dataclass(frozen=True)
class ModuleLog:
    """A run of the module, possibly truncated.

    `not_understood`: the first ten lines that begin like the module's and then differ.
    """

    summaries: tuple[Sample, ...] = ()
    totals: tuple[WorkerTotal, ...] = ()
    failed_workers: tuple[int, ...] = ()  # "Failed to start N kthread"
    not_understood: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        """Cases that any worker reported, in the order of the log."""
        return tuple(dict.fromkeys(summary.case for summary in self.summaries))


# One pattern for all lines, so that a log is scanned once. Numbers have limited length, as the log
# is untrusted. A kernel's first line ends the run before it. The counts are one group, as most
# lines of a run have the same. Each alternative begins with a letter outside of groups, which makes
# the search fast.
_LINE = re.compile(
    rf"{SUMMARY}|{TOTAL}"
    r"|Failed to start (\d{1,5}) kthread"
    r"|Linux version (\d)"
    r"|" + HEADS.replace("|", r"[^\n]{0,120}()|") + r"[^\n]{0,120}()"
)
_SUMMARY, _TOTAL, _UNSTARTED, _BOOT = 4, 7, 8, 9  # the last group that matched; above: broken
_BROKEN_TOTAL = re.compile(r"All test took (?:(?:worker|CPU)(\d{1,5})=)?")
_NOT_UNDERSTOOD = 10


def parse_log(text: str) -> list[ModuleLog]:
    """Return the runs of the module in `text`, in order; truncated ones are incomplete.

    A new run begins when a kernel boots, a worker or a worker's case is repeated, a case has other
    loops, or a worker fails to start after others have reported.
    """
    text = strip_colour(text)
    runs = _runs(text)
    if any(run.not_understood for run in runs):
        runs = _runs(rejoin_lines(text))
    return runs


def _runs(text: str) -> list[ModuleLog]:
    runs, current = [], _Run()
    for line in _LINE.finditer(text):
        if not current.takes(line):
            following = current.split(line)
            runs.append(current.result())
            current = following
            current.takes(line)
    current.close()
    return [run for run in (*runs, current.result()) if run != ModuleLog()]


@functools.lru_cache(maxsize=1024)
def _counts(text: str) -> tuple[int, int, int | None, int, int]:
    """Return passed, failed, xfailed, repeat and loops."""
    passed, failed, *xfailed, repeat, loops = map(int, text.split()[::2])
    return passed, failed, xfailed[0] if xfailed else None, repeat, loops


class _Run:
    def __init__(self) -> None:
        self._summaries: list[Sample] = []
        self._totals: dict[int, WorkerTotal] = {}
        self._unstarted: list[int] = []
        self._broken: list[str] = []
        # Since the last total, of a worker that is not known yet: summaries (case, counts, avg),
        # their repeat and loops, and lines that do not match.
        self._open: dict[str, tuple[str, str, str]] = {}
        self._counts = ""
        self._open_broken: list[str] = []

    def takes(self, line: re.Match[str]) -> bool:
        """Process `line`; return False if it belongs to another run."""
        kind = line.lastindex
        if kind == _SUMMARY:
            case, counts, repeat_loops, avg_us = line.groups()[:4]
            if self._open and (case in self._open or repeat_loops != self._counts):
                return False
            self._open[case] = (case, counts, avg_us)
            self._counts = repeat_loops
        elif kind == _TOTAL:
            worker, value, unit = int(line[5]), int(line[6]), line[7]
            if worker in self._totals:
                return False
            self._assign(worker)
            self._totals[worker] = WorkerTotal(worker, value, unit)
        elif kind not in (_UNSTARTED, _BOOT):
            self._take_broken(line[0])
        elif kind == _BOOT or self._totals or self._open:  # a boot has no further data
            return False
        else:
            self._unstarted.append(int(line[_UNSTARTED]))
        return True

    def _take_broken(self, line: str) -> None:
        if len(self._open_broken) < _NOT_UNDERSTOOD:
            self._open_broken.append(line.strip())
        total = _BROKEN_TOTAL.match(line)
        if total:  # it still ends a worker
            self._assign(int(total[1]) if total[1] else self._next_worker())

    def split(self, line: re.Match[str]) -> "_Run":
        """End this run before `line` and return the next one."""
        following = _Run()
        if line.lastindex == _TOTAL:  # the summaries before a total are of the total's worker
            following._open, self._open = self._open, {}
            following._open_broken, self._open_broken = self._open_broken, []
        self.close()
        return following

    def close(self) -> None:
        """Assign summaries without a total to the next worker."""
        self._assign(self._next_worker())

    def _next_worker(self) -> int:
        last = self._summaries[-1].worker if self._summaries else -1
        return max(last, max(self._totals, default=-1)) + 1

    def _assign(self, worker: int) -> None:
        make = Sample._make
        self._summaries += [
            make((worker, case, *_counts(counts), int(avg_us)))
            for case, counts, avg_us in self._open.values()
        ]
        self._open = {}
        room = _NOT_UNDERSTOOD - len(self._broken)
        self._broken += self._open_broken[:room]
        self._open_broken = []

    def result(self) -> ModuleLog:
        return ModuleLog(
            tuple(self._summaries),
            tuple(self._totals.values()),
            tuple(self._unstarted),
            tuple(self._broken),
        )


def missing_lines(log: ModuleLog, nr_threads: int, cases: Sequence[str]) -> list[str]:
    """Return a sentence for each part of a complete run that `log` lacks; [] if complete."""
    faults = [f"worker {worker} could not be started" for worker in log.failed_workers]
    faults += [
        f"not understood (broken by another line, or of another version of the module): {line}"
        for line in log.not_understood
    ]
    seen: dict[int, set[str]] = {}
    for summary in log.summaries:
        seen.setdefault(summary.worker, set()).add(summary.case)
    totals = {total.worker for total in log.totals}
    whole = [worker for worker in range(nr_threads) if worker not in seen and worker not in totals]
    if whole:
        faults.append(f"{len(whole)} of {nr_threads} workers are missing: {_ranges(whole)}")
    for worker in sorted(set(range(nr_threads)) - set(whole)):
        absent = [case for case in cases if case not in seen.get(worker, set())]
        if absent:
            faults.append(f"worker {worker}: no summary of {', '.join(absent)}")
        if not absent and worker not in seen:
            faults.append(f"worker {worker}: no summary")
        if worker not in totals:
            faults.append(f"worker {worker}: no total")
    return faults


def missing_without_workload(log: ModuleLog) -> list[str]:
    """Return what is missing if all workers ran the cases of the log; see `missing_lines`."""
    workers = [total.worker for total in log.totals] + [item.worker for item in log.summaries]
    return missing_lines(log, max(workers, default=-1) + 1, log.cases)


_MAY_FAIL = frozenset(case.name for case in CASES if case.may_fail)


def unexpected_failures(summaries: Iterable[Sample]) -> list[str]:
    """Return a sentence for each case and worker with unexpected failures.

    Since 6.15 the module counts expected failures separately (`xfailed`).
    """
    return [
        f"worker {item.worker}: {item.case} failed {item.failed} of {item.repeat} passes"
        for item in summaries
        if item.failed and (item.xfailed is not None or item.case not in _MAY_FAIL)
    ]


def _ranges(numbers: Sequence[int]) -> str:
    """Return sorted `numbers` as `0-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
