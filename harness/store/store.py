"""The single source of truth: SQLite in WAL mode by default, PostgreSQL by URL for a lab.

A boot and its samples are one transaction, so a harness that is killed loses at most the boot
under way; the jobs are there from the start, so a run can always go on.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from harness.errors import InputError, StoreError
from harness.store import schema
from harness.store.records import BootRecord, JobRecord, RunRecord
from harness.verdict import Verdict

_BUSY_TIMEOUT_S = 60


def open_store(where: Path | str) -> "Store":
    """Return the store at a path (SQLite, made when missing) or at a database URL.

    Migrates an older schema. Raises StoreError where it cannot be opened, is damaged, or was
    written by a newer vmapbench.
    """
    url = sa.make_url(where if isinstance(where, str) else f"sqlite:///{where}")
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_S})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_immediate)
    else:
        engine = sa.create_engine(url)
    store = Store(engine)
    store.migrate()
    return store


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN, see _begin_immediate
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    """Take the write lock at once: a read that turns into a write cannot wait for it in WAL."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class Store:
    """Runs, their planned jobs, the boots that were tried, and every raw sample."""

    def __init__(self, engine: sa.Engine):
        """Use `open_store`."""
        self._engine = engine

    @property
    def where(self) -> str:
        """The URL, without its password."""
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Release the connections. Idempotent."""
        self._engine.dispose()

    def migrate(self) -> None:
        """Bring the schema to this version's; see `open_store` for errors."""
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        head = ScriptDirectory.from_config(config).get_current_head()
        with self._transaction("opening the store") as connection:
            if MigrationContext.configure(connection).get_current_revision() == head:
                return
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreError(
                    f"{self.where} was written by a newer vmapbench ({error}); update this one"
                ) from error

    def create_run(self, run: RunRecord, jobs: Sequence[JobRecord]) -> None:
        """Keep a new run with all its planned jobs."""
        with self._transaction(f"creating run {run.id}") as connection:
            row = asdict(run) | {"plan": json.dumps(run.plan), "host": json.dumps(run.host)}
            kernels = row.pop("kernels")
            connection.execute(schema.runs.insert(), row)
            for name, facts in kernels.items():
                values = {"run_id": run.id, "name": name, "facts": json.dumps(facts)}
                connection.execute(schema.kernels.insert(), values)
            rows = [
                asdict(job) | {"run_id": run.id, "loads": json.dumps(job.loads)} for job in jobs
            ]
            connection.execute(schema.jobs.insert(), rows)

    def record_boot(self, run_id: str, boot: BootRecord) -> int:
        """Keep a boot with its samples, all or nothing; return its number in the run."""
        with self._transaction(f"recording a boot of {run_id}") as connection:
            table = schema.boots
            count = sa.select(sa.func.count()).where(table.c.run_id == run_id)
            number = int(connection.execute(count).scalar_one())
            row = {
                name: getattr(boot, name)
                for name in ("position", "reason", "load_ns", "elapsed_s", "started_at", "folder")
            }
            row |= {"run_id": run_id, "boot": number, "verdict": boot.verdict.value}
            connection.execute(table.insert(), row | {"facts": json.dumps(boot.facts)})
            samples = [
                asdict(sample) | {"run_id": run_id, "boot": number} for sample in boot.samples
            ]
            if samples:
                connection.execute(schema.samples.insert(), samples)
            return number

    def finish_run(self, run_id: str, finished_at: str) -> None:
        """Mark a run as ended."""
        with self._transaction(f"finishing run {run_id}") as connection:
            where = schema.runs.c.id == run_id
            connection.execute(schema.runs.update().where(where).values(finished_at=finished_at))

    def resolve(self, word: str) -> str:
        """Return the run that `word` names: an id, its unambiguous beginning, or `latest`.

        Raises InputError naming the choices.
        """
        with self._transaction("looking for a run") as connection:
            order = sa.select(schema.runs.c.id).order_by(schema.runs.c.started_at, schema.runs.c.id)
            known = list(connection.execute(order).scalars())
        if word == "latest" and known:
            return str(known[-1])
        found = [run for run in known if run == word] or [r for r in known if r.startswith(word)]
        if len(found) == 1:
            return str(found[0])
        choices = ", ".join(found or known[-10:]) or "none yet"
        raise InputError(f"run {word!r}: {'several' if found else 'none'} of that name: {choices}")

    def load_run(self, run_id: str) -> RunRecord:
        """Return a run by its exact id (see `resolve`)."""
        with self._transaction(f"loading run {run_id}") as connection:
            where = schema.runs.c.id == run_id
            row = connection.execute(sa.select(schema.runs).where(where)).mappings().one()
            table = schema.kernels
            found = connection.execute(
                sa.select(table.c.name, table.c.facts).where(table.c.run_id == run_id)
            ).all()
        values = dict(row) | {"plan": json.loads(row["plan"]), "host": json.loads(row["host"])}
        return RunRecord(**values, kernels={name: json.loads(facts) for name, facts in found})

    def list_runs(self) -> pd.DataFrame:
        """Return one row a run: id, started_at, finished_at, jobs, boots, passed."""
        boots, jobs = schema.boots, schema.jobs

        def count(table: sa.Table, *where: Any) -> Any:
            query = sa.select(sa.func.count()).where(table.c.run_id == schema.runs.c.id, *where)
            return query.scalar_subquery()

        query = sa.select(
            schema.runs.c.id,
            schema.runs.c.started_at,
            schema.runs.c.finished_at,
            count(jobs).label("jobs"),
            count(boots).label("boots"),
            count(boots, boots.c.verdict == Verdict.PASSED.value).label("passed"),
        ).order_by(schema.runs.c.started_at)
        return self._frame(query)

    def jobs(self, run_id: str) -> list[JobRecord]:
        """Return the planned jobs in order."""
        with self._transaction(f"loading the jobs of {run_id}") as connection:
            table = schema.jobs
            query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.position)
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            del row["run_id"]
        return [JobRecord(**row | {"loads": tuple(json.loads(row["loads"]))}) for row in rows]

    def boots(self, run_id: str) -> list[BootRecord]:
        """Return the boots without their samples, in the order in which they ran."""
        with self._transaction(f"loading the boots of {run_id}") as connection:
            table = schema.boots
            query = sa.select(table).where(table.c.run_id == run_id).order_by(table.c.boot)
            rows = [dict(row) for row in connection.execute(query).mappings()]
        return [
            BootRecord(
                position=row["position"],
                verdict=Verdict(row["verdict"]),
                reason=row["reason"],
                load_ns=row["load_ns"],
                elapsed_s=row["elapsed_s"],
                started_at=row["started_at"],
                folder=row["folder"],
                facts=json.loads(row["facts"]),
            )
            for row in rows
        ]

    def boots_frame(self, run_id: str) -> pd.DataFrame:
        """Return one row a boot, with the job's columns; see `harness.analysis.frames`."""
        boots, jobs = schema.boots, schema.jobs
        same = (boots.c.run_id == jobs.c.run_id) & (boots.c.position == jobs.c.position)
        query = (
            sa.select(
                *[boots.c[name] for name in ("run_id", "boot", "position")],
                *[jobs.c[name] for name in ("kernel", "workload", "cpus", "nr_threads")],
                *[boots.c[n] for n in ("verdict", "reason", "load_ns", "elapsed_s", "started_at")],
            )
            .join_from(boots, jobs, same)
            .where(boots.c.run_id == run_id)
            .order_by(boots.c.boot)
        )
        return self._frame(query)

    def samples_frame(self, run_id: str) -> pd.DataFrame:
        """Return one row a boot, worker and case, with the job's columns."""
        boots, jobs, samples = schema.boots, schema.jobs, schema.samples
        same_job = (boots.c.run_id == jobs.c.run_id) & (boots.c.position == jobs.c.position)
        same_boot = (samples.c.run_id == boots.c.run_id) & (samples.c.boot == boots.c.boot)
        own = ("passed", "failed", "xfailed", "repeat", "loops", "avg_us")
        query = (
            sa.select(
                samples.c.run_id,
                samples.c.boot,
                boots.c.position,
                *[jobs.c[name] for name in ("kernel", "workload", "cpus", "nr_threads")],
                samples.c.worker,
                samples.c.case,
                *[samples.c[name] for name in own],
            )
            .join_from(samples, boots, same_boot)
            .join(jobs, same_job)
            .where(samples.c.run_id == run_id)
            .order_by(samples.c.boot, samples.c.worker)
        )
        return self._frame(query)

    def _frame(self, query: sa.Select[Any]) -> pd.DataFrame:
        with self._transaction("reading the store") as connection:
            return pd.read_sql(query, connection)

    @contextlib.contextmanager
    def _transaction(self, doing: str) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except (DBAPIError, SQLAlchemyError) as error:
            cause = getattr(error, "orig", None) or error
            raise StoreError(f"{doing} in {self.where}: {cause}") from error
