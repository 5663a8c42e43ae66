"""The records of the store: runs, planned boots, boots and samples.

Ids, kernel names and folders become paths. A record with one that could lead out of the reports
folder cannot be constructed, whatever the store holds.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from harness.errors import StoreError
from harness.verdict import Verdict, worst

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_name(name: object) -> bool:
    """Return whether `name` is safe as one component of a path."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _check_names(what: str, names: Iterable[object]) -> None:
    """Raise StoreError for the first of `names` that is not safe in a path."""
    for name in names:
        if not is_name(name):
            raise StoreError(
                f"{what} {str(name)[:80]!r} is not a name of at most 128 letters, digits, '.', '_' "
                "and '-' that starts with a letter or digit; vmapbench writes no such record: who "
                "else writes this store?"
            )


@dataclass(frozen=True)
class RunRecord:
    """One execution of a playbook. `kernels`: facts (key, release, digests ...) by name."""

    id: str
    playbook: str
    plan: Mapping[str, Any]
    harness: str
    host: Mapping[str, Any]
    started_at: str
    kernels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finished_at: str | None = None

    def __post_init__(self) -> None:
        """Raise StoreError for names that cannot be part of a path."""
        _check_names("run", [self.id])
        planned = self.plan.get("kernels") or (), self.plan.get("baseline", "none")
        _check_names(f"run {self.id}: kernel", [*self.kernels, *planned[0], planned[1]])

    @property
    def critical(self) -> Mapping[str, Mapping[str, str]]:
        """The configuration symbols that matter to the times, and their values, by kernel."""
        return {name: dict(facts.get("critical") or {}) for name, facts in self.kernels.items()}


@dataclass(frozen=True)
class JobRecord:
    """One planned boot. `workload` includes the point of a sweep: `name[nr_threads=4]`.

    `loads`: parameters of each load of the module; the last one is measured.
    """

    position: int
    kernel: str
    workload: str
    cpus: int
    nr_threads: int
    loads: Sequence[Mapping[str, Any]]
    repeat: int
    expected_s: float

    def __post_init__(self) -> None:
        """Raise StoreError for a kernel that cannot be part of a path."""
        _check_names(f"boot {self.position}: kernel", [self.kernel])

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters of the measured load."""
        return self.loads[-1]


class Sample(NamedTuple):
    """One case of one worker of one boot.

    `avg_us`: the time of one whole pass of `loops` loops, mean over `repeat` passes; not per loop.
    `xfailed` is None where the module does not report it (before 2025).
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
class BootRecord:
    """One attempt at a boot. `load_ns`: wall time of the measured load by the guest's clock."""

    position: int
    verdict: Verdict
    reason: str
    load_ns: int | None
    elapsed_s: float
    started_at: str
    folder: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Sample] = ()

    def __post_init__(self) -> None:
        """Raise StoreError for a folder outside of the run's."""
        _check_names(f"boot {self.position}: folder", self.folder.split("/"))


@dataclass(frozen=True)
class StoredRun:
    """A run with its planned boots and all attempts, each in order."""

    run: RunRecord
    jobs: Sequence[JobRecord]
    boots: Sequence[BootRecord]

    @cached_property
    def job_of(self) -> Mapping[int, JobRecord]:
        """Each planned boot, by its position."""
        return {job.position: job for job in self.jobs}

    @cached_property
    def last_boots(self) -> Mapping[int, BootRecord]:
        """The last attempt at each planned boot, which is the one that counts, by position."""
        return {boot.position: boot for boot in self.boots}

    @property
    def passed(self) -> Iterator[tuple[JobRecord, BootRecord]]:
        """Each boot that passed, with its job."""
        for boot in self.boots:
            if boot.verdict is Verdict.PASSED and boot.position in self.job_of:
                yield self.job_of[boot.position], boot

    def outcome(self, job: JobRecord) -> tuple[Verdict, str]:
        """Return the verdict of a planned boot, and the reason."""
        boot = self.last_boots.get(job.position)
        return (boot.verdict, boot.reason) if boot else (Verdict.MISSING, "it was never booted")

    @property
    def verdicts(self) -> Mapping[int, Verdict]:
        """The verdict of each planned boot, by position."""
        return {job.position: self.outcome(job)[0] for job in self.jobs}

    @property
    def verdict(self) -> Verdict:
        """The worst of all planned boots."""
        return worst(self.verdicts.values())
