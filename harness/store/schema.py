"""The tables, for SQLite (STRICT) and PostgreSQL. Every change needs a migration.

Times are stored as ISO 8601 in UTC and JSON as text, so that both databases have the same values.
"""

from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData()

# Of the types of STRICT tables, INTEGER (64 bits), REAL (64 bits) and TEXT are used.
_INTEGER = Integer().with_variant(BigInteger(), "postgresql")
_REAL: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("playbook", Text, nullable=False),  # content of the file
    Column("plan", Text, nullable=False),  # JSON: the validated playbook, seed included
    Column("harness", Text, nullable=False),  # version
    Column("host", Text, nullable=False),  # JSON: fingerprint of the machine that measured
    Column("started_at", Text, nullable=False),
    Column("finished_at", Text),
    sqlite_strict=True,
)

kernels = Table(
    "kernels",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("facts", Text, nullable=False),  # JSON: key, release, digests, patches, critical symbols
    sqlite_strict=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("position", _INTEGER, primary_key=True),
    Column("kernel", Text, nullable=False),
    Column("workload", Text, nullable=False),
    Column("cpus", _INTEGER, nullable=False),
    Column("nr_threads", _INTEGER, nullable=False),
    Column("loads", Text, nullable=False),  # JSON: parameters of each load
    Column("repeat", _INTEGER, nullable=False),
    Column("expected_s", _REAL, nullable=False),
    sqlite_strict=True,
)

boots = Table(
    "boots",
    metadata,
    Column("id", _INTEGER, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("boot", _INTEGER, nullable=False),  # in the order in which they ran, from 0
    Column("position", _INTEGER, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("load_ns", _INTEGER),  # duration of the measured load on the guest's clock
    Column("elapsed_s", _REAL, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("folder", Text, nullable=False),  # of the logs, relative to the run's folder
    Column("facts", Text, nullable=False),  # JSON: command, machine, memory, noise, findings
    ForeignKeyConstraint(["run_id", "position"], ["jobs.run_id", "jobs.position"]),
    UniqueConstraint("run_id", "boot"),
    UniqueConstraint(
        "run_id", "folder"
    ),  # one folder per attempt, so that no boot is recorded twice
    sqlite_strict=True,
)

# Millions of rows: an integer key, and WITHOUT ROWID in SQLite, take a fifth of the space of a text
# key with a separate index.
samples = Table(
    "samples",
    metadata,
    Column("boot_id", _INTEGER, ForeignKey("boots.id"), primary_key=True, autoincrement=False),
    Column("worker", _INTEGER, primary_key=True, autoincrement=False),
    Column("case", Text, primary_key=True),
    Column("passed", _INTEGER, nullable=False),
    Column("failed", _INTEGER, nullable=False),
    Column("xfailed", _INTEGER),
    Column("repeat", _INTEGER, nullable=False),
    Column("loops", _INTEGER, nullable=False),
    Column("avg_us", _INTEGER, nullable=False),  # of a pass of `loops` calls
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
