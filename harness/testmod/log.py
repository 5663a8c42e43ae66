"""Finds the runs of test_vmalloc in a kernel log of any shape. Pure; never raises on a log.

The module prints, for each worker in turn, a summary per case and then the worker's total
(lib/test_vmalloc.c, do_concurrent_test), so a total closes the summaries that came before it.
Prefixes (time stamps, levels, journal, CRLF, colour) and other drivers' lines do not matter: only
the module's own words are looked for, wherever they stand.
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harness.testmod.mending import mend_lines
from harness.testmod.prefix import strip_colour


class Summary(NamedTuple):
    """One case of one worker.

    `avg_us`: the time of one whole pass of `loops` loops, mean over `repeat` passes; not per loop.
    `xfailed` is None where the module does not tell (before 2025).
    """

    worker: int
    case: str
    passed: int
    failed: int
    xfailed: int | None
    repeat: int
    loops: int
    avg_us: int


@dataclass(frozen=True)
class WorkerTotal:
    """A worker's whole test, in the cycles of its CPU's time stamp counter."""

    worker: int
    cycles: int


@dataclass(frozen=True)
class ModuleLog:
    """One run of the module, as far as the log has it."""

    summaries: tuple[Summary, ...] = ()
    totals: tuple[WorkerTotal, ...] = ()
    failed_workers: tuple[int, ...] = field(default=())  # "Failed to start N kthread"

    @property
    def cases(self) -> tuple[str, ...]:
        """Cases that any worker reported, in the order of the log."""
        return tuple(dict.fromkeys(summary.case for summary in self.summaries))


# One pattern for all lines, so that a log is scanned once. Numbers are bounded: a hostile log
# shall not make the parser build a huge integer. A kernel's first line ends the run before it.
# The counts stay in one piece, since most lines of a run have the same.
_LINE = re.compile(
    r"Summary: (\w{1,64}) passed: "
    r"(\d{1,10} failed: \d{1,10}(?: xfailed: \d{1,10})? repeat: (\d{1,10} loops: \d{1,10}))"
    r" avg: (\d{1,20}) usec"
    r"|All test took worker(\d{1,5})=(\d{1,20}) cycles"
    r"|Failed to start (\d{1,5}) kthread"
    r"|Linux version (\d)"
)
# case, counts, repeat and loops, avg; worker, cycles; unstarted worker; boot: those of one
# alternative, and "" for all others
_Line = tuple[str, ...]


def parse_log(text: str) -> list[ModuleLog]:
    """Return the runs of the module that `text` has, in order; a cut-off one as far as it goes.

    A new run begins where a kernel boots, a worker comes that the run has had already, a case comes
    twice for one worker or with other loops, or a worker fails to start after others have reported.
    """
    runs = [_Run()]
    for line in _lines(strip_colour(text)):
        if not runs[-1].takes(line):
            runs.append(runs[-1].split(line))
            runs[-1].takes(line)
    runs[-1].close()
    return [result for run in runs if (result := run.result()) != ModuleLog()]


def _lines(text: str) -> list[_Line]:
    lines: list[_Line] = _LINE.findall(text)
    heads = text.count("Summary: ") + text.count("All test took worker")
    if heads <= sum(1 for line in lines if line[0] or line[4]):
        return lines
    return _LINE.findall(mend_lines(text))


@functools.lru_cache(maxsize=1024)
def _counts(text: str) -> tuple[int, int, int | None, int, int]:
    """Return passed, failed, xfailed, repeat and loops."""
    passed, failed, *xfailed, repeat, loops = map(int, text.split()[::2])
    return passed, failed, xfailed[0] if xfailed else None, repeat, loops


class _Run:
    def __init__(self) -> None:
        self._summaries: list[Summary] = []
        self._totals: dict[int, WorkerTotal] = {}
        self._unstarted: list[int] = []
        self._open: dict[str, _Line] = {}  # summaries whose worker is not known yet
        self._counts = ""  # repeat and loops of the open summaries

    def takes(self, line: _Line) -> bool:
        """Take `line`, unless it can only belong to another run."""
        if case := line[0]:
            if self._open and (case in self._open or line[2] != self._counts):
                return False
            self._open[case] = line
            self._counts = line[2]
        elif line[4]:
            worker = int(line[4])
            if worker in self._totals:
                return False
            self._assign(worker)
            self._totals[worker] = WorkerTotal(worker, int(line[5]))
        elif line[7] or self._totals or self._open:  # a boot has nothing more to say
            return False
        else:
            self._unstarted.append(int(line[6]))
        return True

    def split(self, line: _Line) -> "_Run":
        """End this run before `line` and return the next one."""
        following = _Run()
        if line[4]:  # the summaries before a total are of the total's worker
            following._open, self._open = self._open, {}
        self.close()
        return following

    def close(self) -> None:
        """Give summaries without a total to the worker that would have come next."""
        self._assign(max(self._totals, default=-1) + 1)

    def _assign(self, worker: int) -> None:
        make = Summary._make
        self._summaries += [
            make((worker, line[0], *_counts(line[1]), int(line[3]))) for line in self._open.values()
        ]
        self._open = {}

    def result(self) -> ModuleLog:
        return ModuleLog(
            tuple(self._summaries), tuple(self._totals.values()), tuple(self._unstarted)
        )


def missing_lines(log: ModuleLog, nr_threads: int, cases: Sequence[str]) -> list[str]:
    """Return what a complete run would have and `log` has not, a sentence each; [] is complete."""
    faults = [f"worker {worker} could not be started" for worker in log.failed_workers]
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
        if worker not in totals:
            faults.append(f"worker {worker}: no total")
    return faults


def missing_without_workload(log: ModuleLog) -> list[str]:
    """Return what is missing judging by the log alone: all workers have the same cases."""
    workers = [total.worker for total in log.totals] + [item.worker for item in log.summaries]
    return missing_lines(log, max(workers, default=-1) + 1, log.cases)


# Meant to fail (lib/test_vmalloc.c): a shift past the word size; GFP_NOWAIT without a page at hand.
_MAY_FAIL = frozenset({"align_shift_alloc_test", "no_block_alloc_test"})


def unexpected_failures(summaries: Iterable[Summary]) -> list[str]:
    """Return a sentence for each case and worker that failed and was not meant to."""
    return [
        f"worker {item.worker}: {item.case} failed {item.failed} of {item.repeat} passes"
        for item in summaries
        if item.failed and item.case not in _MAY_FAIL
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
