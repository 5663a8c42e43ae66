"""Create the first schema. Independent of harness/store/schema.py, which may change."""

from alembic import op
from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Text,
)
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None

_INTEGER = Integer().with_variant(BigInteger(), "postgresql")
_REAL: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")


def upgrade() -> None:
    """Create all tables, in the order of their foreign keys."""
    _create_plan_tables()
    _create_result_tables()


def _create_plan_tables() -> None:
    """Create runs, kernels and jobs: what a run is to measure."""
    op.create_table(
        "runs",
        Column("id", Text, primary_key=True),
        Column("playbook", Text, nullable=False),
        Column("plan", Text, nullable=False),
        Column("harness", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("started_at", Text, nullable=False),
        Column("finished_at", Text),
        sqlite_strict=True,
    )
    op.create_table(
        "kernels",
        Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
        Column("name", Text, primary_key=True),
        Column("facts", Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "jobs",
        Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
        Column("position", _INTEGER, primary_key=True),
        Column("kernel", Text, nullable=False),
        Column("workload", Text, nullable=False),
        Column("cpus", _INTEGER, nullable=False),
        Column("nr_threads", _INTEGER, nullable=False),
        Column("loads", Text, nullable=False),
        Column("repeat", _INTEGER, nullable=False),
        Column("expected_s", _REAL, nullable=False),
        sqlite_strict=True,
    )


def _create_result_tables() -> None:
    """Create boots and samples: what was measured."""
    op.create_table(
        "boots",
        Column("run_id", Text, primary_key=True),
        Column("boot", _INTEGER, primary_key=True),
        Column("position", _INTEGER, nullable=False),
        Column("verdict", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("load_ns", _INTEGER),
        Column("elapsed_s", _REAL, nullable=False),
        Column("started_at", Text, nullable=False),
        Column("folder", Text, nullable=False),
        Column("facts", Text, nullable=False),
        ForeignKeyConstraint(["run_id", "position"], ["jobs.run_id", "jobs.position"]),
        sqlite_strict=True,
    )
    op.create_table(
        "samples",
        Column("run_id", Text, primary_key=True),
        Column("boot", _INTEGER, primary_key=True),
        Column("worker", _INTEGER, primary_key=True),
        Column("case", Text, primary_key=True),
        Column("passed", _INTEGER, nullable=False),
        Column("failed", _INTEGER, nullable=False),
        Column("xfailed", _INTEGER),
        Column("repeat", _INTEGER, nullable=False),
        Column("loops", _INTEGER, nullable=False),
        Column("avg_us", _INTEGER, nullable=False),
        ForeignKeyConstraint(["run_id", "boot"], ["boots.run_id", "boots.boot"]),
        sqlite_strict=True,
    )
