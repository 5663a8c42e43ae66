"""Opens the database: engine, settings, migrations, and advice on its errors."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from harness.errors import InputError, StoreError

_BUSY_TIMEOUT_S = 60.0
_MIGRATION_LOCK = 0x766D6170  # "vmap": PostgreSQL's advisory lock while the schema is changed

_DAMAGE = (UnicodeDecodeError, pd.errors.DatabaseError)  # raised while reading damaged rows

# (pattern of the database's message, what the user can do about it)
_ADVICE = (
    (
        r"database is locked",
        "another process has held the lock for {timeout:.0f} s: wait for it (`fuser` shows it)",
    ),
    (
        r"readonly|read-only|unable to open|permission denied",
        "make the folder and the file writable by this user, or use --reports FOLDER",
    ),
    (
        r"disk is full|no space left|disk i/o error",
        "free space on its file system; nothing recorded is lost: vmapbench run --resume RUN-ID",
    ),
    (
        r"not a database|malformed|corrupt|can't decode",
        "the file is damaged: move it away; `sqlite3 FILE .recover | sqlite3 NEW.db` may save it",
    ),
    (
        r"connection (failed|refused)|could not|no such host|authentication|does not exist",
        "check host, name, user and password in VMAPBENCH_STORE, and that the server is running",
    ),
)


def make_engine(
    where: Path | str, *, must_exist: bool = False, busy_timeout_s: float = _BUSY_TIMEOUT_S
) -> sa.Engine:
    """Return an engine for a path (SQLite) or a database URL. It does not connect yet.

    Creates the folder of a SQLite file. Raises InputError for an invalid URL, a missing driver, or
    with `must_exist` for a missing SQLite file; StoreError if the folder cannot be created.
    `busy_timeout_s`: how long to wait for a lock of SQLite.
    """
    url = parse_location(where)
    if url.get_backend_name() == "sqlite":
        _check_file(url.database, must_exist)
        if must_exist and url.database and _is_idle(Path(url.database)):
            return _reading_engine(Path(url.database))
        engine = sa.create_engine(url, connect_args={"timeout": busy_timeout_s})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        return sa.create_engine(url)
    except ModuleNotFoundError as error:
        raise InputError(
            "a PostgreSQL store needs a driver: pip install 'vmapbench[postgres]'"
        ) from error


def parse_location(where: Path | str) -> sa.URL:
    """Return a path or URL as a database URL. Raises InputError, without the URL's password."""
    if isinstance(where, Path) or "://" not in where:
        return sa.URL.create("sqlite", database=str(where))
    try:
        url = sa.make_url(where)
    except (SQLAlchemyError, ValueError) as error:
        raise InputError(
            "VMAPBENCH_STORE is not a valid database URL; expected "
            "postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE"
        ) from error
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(
            f"VMAPBENCH_STORE: databases of type {url.get_backend_name()!r} are not supported; "
            "expected a file, sqlite:///FILE or postgresql://..."
        )
    return url


def _check_file(file: str | None, must_exist: bool) -> None:
    if not file or file == ":memory:":
        return
    path = Path(file)
    if must_exist and not path.exists():
        raise InputError(f"no results in {path.parent} yet: `vmapbench run PLAYBOOK` makes some")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the folder {path.parent}: {error.strerror}\n"
            "  next: use another folder with --reports FOLDER"
        ) from error


def _is_idle(file: Path) -> bool:
    """Return whether a SQLite file can be opened as immutable, without a lock.

    That is on a read-only file system, if there is no write-ahead log (-wal), which SQLite would
    ignore.
    """
    log = file.with_name(f"{file.name}-wal")
    try:
        read_only = os.statvfs(file).f_flag & os.ST_RDONLY
        return bool(read_only) and not (log.exists() and log.stat().st_size)
    except OSError:
        return False


def _reading_engine(file: Path) -> sa.Engine:
    """Return a read-only engine that creates no files next to the store."""
    path = quote(str(file.absolute()))
    return sa.create_engine(f"sqlite:///file:{path}?mode=ro&immutable=1&uri=true")


def _prepare_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin below, not in the driver
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction; a writing one takes the lock now, as a WAL read cannot wait for it."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def transaction(engine: sa.Engine, doing: str, *, writes: bool = False) -> Iterator[sa.Connection]:
    """Open a transaction; a database error in it is raised as StoreError with advice.

    `doing`: begins the message, like "loading run X"; `writes`: whether it will write.
    """
    try:
        with engine.execution_options(writes=writes).begin() as connection:
            yield connection
    except (SQLAlchemyError, OverflowError, *_DAMAGE) as error:
        raise explain(doing, engine.url, error) from error


def explain(doing: str, url: sa.URL, error: Exception) -> StoreError:
    """Return the StoreError for a database error: the action, the store, the error, advice."""
    found = str(getattr(error, "orig", None) or error)
    known = isinstance(error, (DBAPIError, *_DAMAGE))
    advice = [
        text.format(timeout=_BUSY_TIMEOUT_S)
        for pattern, text in _ADVICE
        if known and re.search(pattern, found, re.IGNORECASE)
    ]
    where = url.render_as_string(hide_password=True)
    return StoreError("\n  ".join([f"{doing} in {where}: {found.strip()}", *advice[:1]]))


def migrate(engine: sa.Engine, to: str = "head") -> None:
    """Migrate the schema to revision `to`. Raises StoreError if that fails or it is newer."""
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    with transaction(engine, "opening the store") as connection:
        if _revision(connection) == head:
            return
    with transaction(engine, "migrating the store", writes=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        found = _revision(connection)
        if found not in (None, *(known.revision for known in script.walk_revisions())):
            where = engine.url.render_as_string(hide_password=True)
            raise StoreError(
                f"{where} was written by a newer vmapbench (schema {found}, expected {head} or "
                "older): update vmapbench, or use another store"
            )
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, to)
        except CommandError as error:
            raise StoreError(f"migrating {engine.url!r}: {error}") from error


def _revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
