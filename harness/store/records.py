"""What is kept, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.verdict import Verdict


@dataclass(frozen=True)
class RunRecord:
    """One execution of a playbook. `kernels`: name -> facts (key, release, digests ...)."""

    id: str
    playbook: str
    plan: Mapping[str, Any]
    harness: str
    host: Mapping[str, Any]
    started_at: str
    kernels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finished_at: str | None = None

    @property
    def critical(self) -> Mapping[str, Mapping[str, str]]:
        """Kernel name -> its measurement-critical symbols and their values."""
        return {name: dict(facts.get("critical") or {}) for name, facts in self.kernels.items()}


@dataclass(frozen=True)
class JobRecord:
    """One planned boot."""

    position: int
    kernel: str
    workload: str
    cpus: int
    nr_threads: int
    loads: Sequence[Mapping[str, Any]]
    repeat: int
    expected_s: float


@dataclass(frozen=True)
class SampleRecord:
    """One case of one worker of one boot. `avg_us`: one whole pass of `loops` loops."""

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
    """One boot that was tried. `load_ns`: wall time of the measured load, guest's clock."""

    position: int
    verdict: Verdict
    reason: str
    load_ns: int | None
    elapsed_s: float
    started_at: str
    folder: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[SampleRecord] = ()
