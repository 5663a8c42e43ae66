"""Carries a run out of the store. Each format is one module here, found by its name.

A format has `write(source: RunSource, stream: BinaryIO) -> None` and a docstring whose first line
says what it is. Adding one is adding a file. docs/howto/exports.md describes them all.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

import pandas as pd

from harness.errors import InputError
from harness.plugins import names
from harness.records import BootRecord, JobRecord, RunRecord
from harness.store.store import Store
from harness.verdict import Verdict


@dataclass(frozen=True)
class RunSource:
    """One run, read as far as a format asks for it."""

    store: Store
    run_id: str

    @cached_property
    def run(self) -> RunRecord:
        """The run itself."""
        return self.store.load_run(self.run_id)

    @cached_property
    def jobs(self) -> Sequence[JobRecord]:
        """Every planned boot."""
        return self.store.jobs(self.run_id)

    @cached_property
    def boots(self) -> Sequence[BootRecord]:
        """Every boot that was tried, in order; a boot's place is its number."""
        return self.store.boots(self.run_id)

    @cached_property
    def last_boots(self) -> Mapping[int, BootRecord]:
        """The last attempt of each job that was tried, by the job's position."""
        return {boot.position: boot for boot in self.boots}

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Every sample; see `harness.analysis.frames.SAMPLES`."""
        return self.store.samples_frame(self.run_id)

    def verdict(self, job: JobRecord) -> tuple[Verdict, str]:
        """Return what became of a planned boot, and why."""
        boot = self.last_boots.get(job.position)
        return (boot.verdict, boot.reason) if boot else (Verdict.MISSING, "it was never booted")


def formats() -> dict[str, str]:
    """Return each format's name and what it is, in one line."""
    return {name: (_module(name).__doc__ or "").split("\n")[0] for name in names(__name__)}


def check_format(form: str) -> None:
    """Raise InputError for an unknown format."""
    if form not in formats():
        raise InputError(f"--format: found {form!r}, expected one of {', '.join(formats())}")


def export_run(store: Store, run_id: str, form: str, stream: BinaryIO) -> None:
    """Write a run to `stream`. Raises InputError for an unknown format or a missing library."""
    check_format(form)
    _module(form).write(RunSource(store, run_id), stream)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
