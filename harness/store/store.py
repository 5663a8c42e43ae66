"""The store of all results: SQLite in WAL mode, or PostgreSQL.

A boot and its samples are written in one transaction, so that a killed process loses at most the
current boot. The planned jobs are stored first, so that every run can be resumed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from harness.errors import InputError, StoreError
from harness.records import BootRecord, JobRecord, RunRecord, Sample, StoredRun, is_name
from harness.store import columns, schema
from harness.store.connect import make_engine, migrate, transaction
from harness.store.shapes import BOOT_FACTS, HOST, KERNEL_FACTS, LOADS, PLAN, check_time, from_json
from harness.text import one_line, storable
from harness.verdict import Verdict

_COUNT_LIMIT, _TIME_LIMIT = 2**31, 2**63  # of the dtypes in `harness.analysis.frames`


def open_store(where: Path | str, *, must_exist: bool = False) -> "Store":
    """Return the store at a path (SQLite) or database URL, migrated to the current schema.

    A missing file is created; with `must_exist` it raises InputError. Raises StoreError if the
    store cannot be opened, is damaged, or was written by a newer vmapbench.
    """
    store = Store(make_engine(where, must_exist=must_exist))
    try:
        migrate(store.engine)
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """Runs, their planned jobs, all boots (failed ones as well), and every raw sample.

    Every method raises StoreError if the database fails or has invalid records. Close it after use.
    """

    def __init__(self, engine: sa.Engine):
        """Wrap an engine whose schema is current; `open_store` makes one."""
        self.engine = engine

    @property
    def where(self) -> str:
        """The database URL with the password masked."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Release the connections. Idempotent."""
        self.engine.dispose()

    def create_run(self, run: RunRecord, jobs: Sequence[JobRecord]) -> None:
        """Store a new run with all its planned jobs."""
        row = asdict(run) | {"plan": to_json(run.plan), "host": to_json(run.host)}
        row |= {"playbook": storable(run.playbook)}
        kernels = [
            {"run_id": run.id, "name": name, "facts": to_json(facts)}
            for name, facts in row.pop("kernels").items()
        ]
        planned = [asdict(job) | {"run_id": run.id, "loads": to_json(job.loads)} for job in jobs]
        with transaction(self.engine, f"creating run {run.id}", writes=True) as connection:
            connection.execute(schema.runs.insert(), row)
            if kernels:
                connection.execute(schema.kernels.insert(), kernels)
            if planned:
                connection.execute(schema.jobs.insert(), planned)

    def extend_run(
        self,
        run_id: str,
        jobs: Sequence[JobRecord],
        kernels: Mapping[str, Mapping[str, Any]],
        changed: tuple[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Add planned jobs to a run, and those of `kernels` (name -> facts) that it lacks.

        `changed`: new playbook text and plan; the run is then unfinished again.
        """
        planned = [asdict(job) | {"run_id": run_id, "loads": to_json(job.loads)} for job in jobs]
        names = schema.kernels.c
        with transaction(self.engine, f"extending run {run_id}", writes=True) as connection:
            query = sa.select(names.name).where(names.run_id == run_id)
            known = set(connection.execute(query).scalars())
            for name in kernels.keys() - known:
                row = {"run_id": run_id, "name": name, "facts": to_json(kernels[name])}
                connection.execute(schema.kernels.insert(), row)
            if planned:
                connection.execute(schema.jobs.insert(), planned)
            if changed:
                row = {"playbook": storable(changed[0]), "plan": to_json(changed[1])}
                update = schema.runs.update().where(schema.runs.c.id == run_id)
                connection.execute(update.values(**row, finished_at=None))

    def record_boot(self, run_id: str, boot: BootRecord) -> int:
        """Store a boot with its samples in one transaction; return its number in the run, from 0.

        Idempotent: an attempt, identified by its folder, is stored once. Raises StoreError if
        another attempt at the job already has a final verdict, if a sample is invalid, or if the
        run is unknown.
        """
        row = {
            name: getattr(boot, name)
            for name in ("position", "load_ns", "elapsed_s", "started_at", "folder")
        }
        row |= {"reason": storable(boot.reason), "facts": to_json(boot.facts)}
        row |= {"run_id": run_id, "verdict": boot.verdict.value}
        rows = [_sample_row(sample) for sample in boot.samples]
        doing = f"recording a boot of {run_id}"
        with transaction(self.engine, doing, writes=True) as connection:
            number = _next_boot(connection, run_id)
            tried = _like(connection, run_id, boot)
            if tried and tried.folder == boot.folder:
                return int(tried.boot)
            if tried:
                raise StoreError(
                    f"{doing}: job {boot.position} already has a result ({tried.verdict}, "
                    f"{tried.folder})\n  next: check whether another vmapbench resumes this run"
                )
            row["boot"] = number
            result = connection.execute(schema.boots.insert().returning(schema.boots.c.id), row)
            key = result.scalar_one()
            if rows:
                connection.execute(
                    schema.samples.insert(), [{**sample, "boot_id": key} for sample in rows]
                )
            return number

    def finish_run(self, run_id: str, finished_at: str) -> None:
        """Mark a run as finished. `finished_at`: ISO 8601 time in UTC."""
        change = schema.runs.update().where(schema.runs.c.id == run_id)
        with transaction(self.engine, f"finishing run {run_id}", writes=True) as connection:
            connection.execute(change.values(finished_at=finished_at))

    def resolve(self, word: str) -> str:
        """Return the id of the run that `word` names: an id, a unique prefix of one, or `latest`.

        Raises InputError, listing the candidates, if there is none or more than one.
        """
        order = sa.select(schema.runs.c.id).order_by(schema.runs.c.started_at, schema.runs.c.id)
        with transaction(self.engine, "looking for a run") as connection:
            known = [str(run) for run in connection.execute(order).scalars() if is_name(run)]
        if word == "latest" and known:
            return known[-1]
        found = [run for run in known if run == word] or [r for r in known if r.startswith(word)]
        if len(found) == 1:
            return found[0]
        choices = ", ".join((found or known)[-10:]) or "none yet"
        raise InputError(
            f"run {word!r}: {'several ids begin' if found else 'no id begins'} with this; "
            f"found: {choices}"
        )

    def runs_of(self, playbook: str) -> dict[str, bool]:
        """Return run id -> whether it finished, of the runs with this playbook text, oldest first.

        Scans the whole table of runs.
        """
        table = schema.runs.c
        query = sa.select(table.id, table.finished_at).where(table.playbook == storable(playbook))
        with transaction(self.engine, "looking for a run") as connection:
            rows = connection.execute(query.order_by(table.started_at, table.id)).all()
        return {row.id: row.finished_at is not None for row in rows}

    def load_run(self, run_id: str) -> RunRecord:
        """Return a run by its full id. Raises InputError if there is no such run."""
        names = schema.kernels.c
        query = sa.select(schema.runs).where(schema.runs.c.id == run_id)
        facts = sa.select(names.name, names.facts).where(names.run_id == run_id)
        with transaction(self.engine, f"loading run {run_id}") as connection:
            row = connection.execute(query).mappings().one_or_none()
            kernels = connection.execute(facts.order_by(names.name)).all()
        if row is None:
            raise InputError(f"run {run_id!r}: no such run in {self.where}")
        values = dict(row) | {"plan": from_json(row["plan"], PLAN)}
        values |= {"host": from_json(row["host"], HOST)}
        check_time(row["started_at"])
        if row["finished_at"] is not None:
            check_time(row["finished_at"])
        known = {name: from_json(text, KERNEL_FACTS) for name, text in kernels}
        return RunRecord(**values, kernels=known)

    def stored_run(self, run_id: str) -> StoredRun:
        """Return a run by its full id, with its jobs and its boots, without samples."""
        return StoredRun(self.load_run(run_id), self.jobs(run_id), self.boots(run_id))

    def list_runs(self) -> pd.DataFrame:
        """Return a frame with a row per run, oldest first.

        Columns: id, started_at, finished_at, and the numbers of planned `jobs`, of `done` jobs
        (with a final verdict), of `boots` (every attempt) and of `passed` jobs. Runs with an
        invalid id (see `is_name`) are left out.
        """
        boots, jobs = schema.boots, schema.jobs
        final = boots.c.verdict.in_([verdict.value for verdict in Verdict if verdict.final])

        def count(column: Any, *where: Any) -> Any:
            of_run = column.table.c.run_id == schema.runs.c.id
            query = sa.select(sa.func.count(sa.distinct(column))).where(of_run, *where)
            return query.scalar_subquery()

        query = sa.select(
            schema.runs.c.id,
            schema.runs.c.started_at,
            schema.runs.c.finished_at,
            count(jobs.c.position).label("jobs"),
            count(boots.c.position, final).label("done"),
            count(boots.c.boot).label("boots"),
            count(boots.c.position, boots.c.verdict == Verdict.PASSED.value).label("passed"),
        ).order_by(schema.runs.c.started_at, schema.runs.c.id)
        with transaction(self.engine, "listing the runs") as connection:
            result = connection.execute(query)
            found = pd.DataFrame(result.all(), columns=list(result.keys()))
        return found[found["id"].map(is_name).astype(bool)].reset_index(drop=True)

    def jobs(self, run_id: str) -> list[JobRecord]:
        """Return the planned jobs of a run by position."""
        table = schema.jobs
        query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.position)
        with transaction(self.engine, f"loading the jobs of {run_id}") as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            del row["run_id"]
        return [JobRecord(**row | {"loads": tuple(from_json(row["loads"], LOADS))}) for row in rows]

    def boots(self, run_id: str) -> list[BootRecord]:
        """Return the boots of a run, without samples, in the order in which they ran."""
        table = schema.boots
        names = ("position", "load_ns", "reason", "elapsed_s", "started_at", "folder")
        query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.boot)
        with transaction(self.engine, f"loading the boots of {run_id}") as connection:
            rows = connection.execute(query).mappings().all()
        for row in rows:
            check_time(row["started_at"])
        return [
            BootRecord(
                verdict=_verdict(row["verdict"]),
                facts=from_json(row["facts"], BOOT_FACTS),
                **{name: row[name] for name in names},
            )
            for row in rows
        ]

    def boots_frame(self, run_id: str | Sequence[str]) -> pd.DataFrame:
        """Return a frame with a row per boot of one or several runs.

        Columns: `harness.analysis.frames.BOOTS`.
        """
        with transaction(self.engine, "loading boots") as connection:
            return columns.read_boots(connection, _runs(run_id))

    def samples_frame(self, run_id: str | Sequence[str]) -> pd.DataFrame:
        """Return a frame with a row per boot, worker and case of one or several runs.

        Columns: `harness.analysis.frames.SAMPLES`.
        """
        with transaction(self.engine, "loading samples") as connection:
            return columns.read_samples(connection, _runs(run_id))

    def sample_texts(self, run_id: str) -> Iterator[tuple[sa.Row[Any], sa.Row[Any]]]:
        """Yield the boots of a run that have samples, as of `harness.store.columns.joined_samples`.

        Reads a few boots at a time, so that a run of any size fits in memory.
        """
        with transaction(self.engine, "loading samples") as connection:
            yield from columns.joined_samples(connection, [run_id])


def _runs(run_id: str | Sequence[str]) -> list[str]:
    return [run_id] if isinstance(run_id, str) else list(run_id)


def _verdict(word: str) -> Verdict:
    """Return the verdict with this value. Raises StoreError if it is unknown."""
    try:
        return Verdict(word)
    except ValueError as error:
        raise StoreError(f"reading the store: unknown verdict {one_line(word, 60)!r}") from error


def _next_boot(connection: sa.Connection, run_id: str) -> int:
    """Return the number of the run's next boot; it stays so until the transaction ends.

    SQLite locks the whole file, PostgreSQL the run's row.
    """
    run = sa.select(schema.runs.c.id).where(schema.runs.c.id == run_id).with_for_update()
    if connection.execute(run).one_or_none() is None:
        raise StoreError(f"recording a boot: run {run_id!r} is not in this store")
    last = sa.select(sa.func.max(schema.boots.c.boot)).where(schema.boots.c.run_id == run_id)
    found = connection.execute(last).scalar_one()
    return 0 if found is None else int(found) + 1


def _like(connection: sa.Connection, run_id: str, boot: BootRecord) -> Any:
    """Return the row of the same attempt, else of the job's final attempt, else None."""
    table = schema.boots.c
    final = table.verdict.in_([verdict.value for verdict in Verdict if verdict.final])
    same = table.folder == boot.folder
    query = sa.select(table.boot, table.position, table.verdict, table.folder)
    query = query.where(table.run_id == run_id, same | ((table.position == boot.position) & final))
    return connection.execute(query.order_by(same.desc())).first()


def _sample_row(sample: Sample) -> dict[str, Any]:
    if not re.fullmatch(r"\w+", sample.case):  # as in the log's format
        raise StoreError(f"recording a boot: invalid name of a case: {sample.case!r}")
    row = sample._asdict()
    for name, value in row.items():
        limit = _TIME_LIMIT if name == "avg_us" else _COUNT_LIMIT
        if isinstance(value, int) and not 0 <= value < limit:
            raise StoreError(f"recording a boot: {sample.case}: {name} {value} is out of range")
    return row


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Return `value` as JSON text; objects that JSON does not support as their `str`."""
    return json.dumps(value, default=str)
