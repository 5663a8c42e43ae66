import os
import re
import sqlite3
import sys

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from harness.errors import InputError, StoreError
from harness.process import SubprocessRunner
from harness.store import connect, schema
from harness.store.store import Store, open_store
from tests.flow.store.store_writers import boot_record, job_records, run_record, sample_records


def test_the_migrations_make_the_schema_that_the_code_knows(store):
    with store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []


def test_sqlite_checks_types_and_references(tmp_path):
    store = open_store(tmp_path / "a.db")
    with store.engine.connect() as connection:
        tables = connection.execute(sa.text("PRAGMA table_list")).mappings().all()
        strict = {row["name"]: row["strict"] for row in tables}
        assert all(strict[name] for name in schema.metadata.tables)
        for pragma, value in {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}.items():
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value
    store.close()


def test_a_store_of_the_first_schema_is_migrated_with_its_rows(where):
    old = Store(connect.make_engine(where))
    connect.migrate(old.engine, "0001")
    old.create_run(run_record(), job_records())
    row = {"position": 2, "verdict": "passed", "reason": "", "load_ns": 5, "elapsed_s": 1.5}
    row |= {
        "run_id": run_record().id,
        "boot": 0,
        "started_at": "2026-01-01T00:00:00",
        "folder": "f",
        "facts": "{}",
    }
    names = ", ".join(row)
    with connect.transaction(old.engine, "writing", writes=True) as connection:
        values = ", ".join(f":{name}" for name in row)
        connection.execute(sa.text(f"INSERT INTO boots ({names}) VALUES ({values})"), row)
        connection.execute(
            sa.text("INSERT INTO samples VALUES (:run, 0, 3, 'c_test', 1, 0, NULL, 1, 10, 77)"),
            {"run": run_record().id},
        )
    old.close()
    new = open_store(where)
    assert new.boots(run_record().id)[0].load_ns == 5
    (sample,) = new.samples_frame(run_record().id).itertuples()
    assert (sample.position, sample.worker, sample.case, sample.avg_us) == (2, 3, "c_test", 77)
    assert new.record_boot(run_record().id, boot_record(0)) == 1
    new.close()


def test_a_newer_schema_is_refused_with_advice(where):
    store = open_store(where)
    with connect.transaction(store.engine, "writing", writes=True) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(StoreError, match=r"newer vmapbench \(schema 9999.*update vmapbench"):
        open_store(where)


def test_a_missing_store_is_not_made_by_those_who_only_read(tmp_path):
    with pytest.raises(InputError, match="no results in .* yet"):
        open_store(tmp_path / "none.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named_with_a_way_out(tmp_path):
    path = tmp_path / "a.db"
    path.write_bytes(b"x" * 8192)
    with pytest.raises(StoreError, match=r"not a database\n.*recover"):
        open_store(path)


def test_damage_within_the_file_is_named_with_a_way_out(tmp_path):
    path = tmp_path / "a.db"
    store = open_store(path)
    store.create_run(run_record(), job_records())
    for position in range(4):
        store.record_boot(run_record().id, boot_record(position))
    store.close()
    data = bytearray(path.read_bytes())
    data[4096 * 2 :] = b"\xff" * (len(data) - 4096 * 2)
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"malformed\n.*recover"):
        open_store(path).samples_frame(run_record().id)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="unable to open database file\n.*--reports"):
        open_store(tmp_path)


def test_a_place_where_no_folder_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot create the folder"):
        open_store(tmp_path / "file" / "a.db")


def test_a_full_disk_is_named_and_what_was_recorded_stays(tmp_path):
    store = open_store(tmp_path / "a.db")
    store.create_run(run_record(), job_records())
    store.record_boot(run_record().id, boot_record(0))
    with store.engine.connect() as connection:  # the pool hands the same connection out again
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    big = boot_record(1, facts={"text": "x" * 100_000})
    with pytest.raises(StoreError, match=r"disk is full\n.*--resume"):
        store.record_boot(run_record().id, big)
    assert len(store.boots(run_record().id)) == 1
    store.close()


def test_a_locked_store_is_waited_for_then_named(tmp_path):
    path = tmp_path / "a.db"
    open_store(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store = Store(connect.make_engine(path, busy_timeout_s=0.05))
    with pytest.raises(StoreError, match=r"database is locked\n.*another process"):
        store.create_run(run_record(), [])
    assert store.list_runs().empty  # readers do not wait for the writer
    holder.execute("ROLLBACK")
    store.create_run(run_record(), [])
    store.close()
    holder.close()


def test_a_store_that_may_not_be_written_is_named(tmp_path, repository):
    folder = tmp_path / "reports"
    open_store(folder / "a.db").close()
    folder.chmod(0o555)
    (folder / "a.db").chmod(0o444)
    words = "import sys; from harness.store.store import open_store\n"
    words += "from harness.errors import StoreError\n"
    words += "try: open_store(sys.argv[1])\nexcept StoreError as error: print(error)\n"
    # Root may write anywhere, unless it gives that capability up.
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]
    argv = [sys.executable, "-c", words, str(folder / "a.db")]
    argv = [*mortal, *argv] if os.getuid() == 0 else argv
    done = SubprocessRunner().run(argv, env={"PYTHONPATH": str(repository)})
    assert re.search(r"(readonly|unable to open).*\n.*writable by this", done.output), done.output


@pytest.mark.parametrize("url", ["mysql://u:secret@h/x", "://", "postgresql://u:secret@h:port/x"])
def test_a_url_that_is_no_store_is_refused_without_its_password(url):
    with pytest.raises(InputError, match="expected") as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named_without_the_password():
    with pytest.raises(StoreError, match=r"refused[^$]*check host") as failed:
        open_store("postgresql://u:secret@127.0.0.1:1/x")
    assert "secret" not in str(failed.value)


def test_samples_need_a_boot(store):
    row = {"boot_id": 1, **sample_records()[0]._asdict()}
    with (
        pytest.raises(StoreError, match="(?i)foreign key"),
        connect.transaction(store.engine, "writing", writes=True) as connection,
    ):
        connection.execute(schema.samples.insert(), row)
