"""Key samples by one integer, which takes a fifth of the space and is faster to read."""

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
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"

_INTEGER = Integer().with_variant(BigInteger(), "postgresql")
_REAL: TypeEngine[float] = REAL().with_variant(Double(), "postgresql")
_BOOT = "run_id, boot, position, verdict, reason, load_ns, elapsed_s, started_at, folder, facts"
_SAMPLE = 'worker, "case", passed, failed, xfailed, repeat, loops, avg_us'


def upgrade() -> None:
    """Create boots and samples anew and copy their rows."""
    op.rename_table("boots", "boots_0001")
    op.rename_table("samples", "samples_0001")
    op.create_table(
        "boots",
        Column("id", _INTEGER, primary_key=True),
        Column("run_id", Text, nullable=False),
        Column("boot", _INTEGER, nullable=False),
        Column("position", _INTEGER, nullable=False),
        Column("verdict", Text, nullable=False),
        Column("reason", Text, nullable=False),
        Column("load_ns", _INTEGER),
        Column("elapsed_s", _REAL, nullable=False),
        Column("started_at", Text, nullable=False),
        Column("folder", Text, nullable=False),
        Column("facts", Text, nullable=False),
        ForeignKeyConstraint(["run_id", "position"], ["jobs.run_id", "jobs.position"]),
        UniqueConstraint("run_id", "boot"),
        UniqueConstraint("run_id", "folder"),
        sqlite_strict=True,
    )
    op.create_table(
        "samples",
        Column("boot_id", _INTEGER, ForeignKey("boots.id"), primary_key=True, autoincrement=False),
        Column("worker", _INTEGER, primary_key=True, autoincrement=False),
        Column("case", Text, primary_key=True),
        Column("passed", _INTEGER, nullable=False),
        Column("failed", _INTEGER, nullable=False),
        Column("xfailed", _INTEGER),
        Column("repeat", _INTEGER, nullable=False),
        Column("loops", _INTEGER, nullable=False),
        Column("avg_us", _INTEGER, nullable=False),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    # Constant statements, without any input.
    op.execute(
        f"INSERT INTO boots ({_BOOT}) SELECT {_BOOT} FROM boots_0001 ORDER BY run_id, boot"  # noqa: S608
    )
    op.execute(
        f"INSERT INTO samples (boot_id, {_SAMPLE}) SELECT boots.id, {_SAMPLE} FROM samples_0001"  # noqa: S608
        " JOIN boots ON boots.run_id = samples_0001.run_id AND boots.boot = samples_0001.boot"
    )
    op.drop_table("samples_0001")
    op.drop_table("boots_0001")
