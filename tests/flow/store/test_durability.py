"""Real processes: many that write at once, and one that is killed again and again."""

import multiprocessing
import random
import signal
import sqlite3
import time

import pytest

from harness.store.store import open_store
from tests.flow.store import store_writers
from tests.flow.store.store_writers import CASES, WORKERS, job_records, run_record

KILLS = 20


@pytest.fixture(scope="module")
def processes():
    """Children that start clean and quickly: the store is imported once, by their parent."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["harness.store.store"])
    return context


def test_several_processes_write_at_once(where, processes):
    writers = [
        processes.Process(target=store_writers.write_run, args=(where, f"run{number}", 10))
        for number in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    store = open_store(where)
    assert store.list_runs()["done"].tolist() == [10] * 4
    for number in range(4):
        assert len(store.samples_frame(f"run{number}")) == 10 * WORKERS * len(CASES)
    store.close()


def test_two_processes_that_record_the_same_boots_keep_each_once(where, processes):
    store = open_store(where)
    store.create_run(run_record(), job_records(10))
    arguments = (where, run_record().id, range(10))
    writers = [processes.Process(target=store_writers.write_all, args=arguments) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert store.boots_frame(run_record().id)["position"].tolist() == list(range(10))
    store.close()


def test_killed_at_random_points_nothing_is_lost_or_half_there(where, processes):
    generator = random.Random(20261123)
    store = open_store(where)
    store.create_run(run_record(), job_records(2000))
    store.close()
    next_position = 0
    for _ in range(KILLS):
        told = _write_until_killed(
            where, processes, range(next_position, 2000), generator.uniform(0, 0.05)
        )
        store = open_store(where)
        positions = store.boots_frame(run_record().id)["position"].tolist()
        samples = store.samples_frame(run_record().id)
        store.close()
        # Whole boots in order, every one that was told of, and at most one that could not be.
        assert positions == list(range(len(positions)))
        assert len(samples) == len(positions) * WORKERS * len(CASES)
        assert told <= len(positions) <= told + 1
        next_position = len(positions)
    assert next_position > KILLS
    if not isinstance(where, str):
        check = sqlite3.connect(where).execute("PRAGMA integrity_check").fetchall()
        assert check == [("ok",)]


def _write_until_killed(where, processes, positions, delay_s):
    """Return how many boots the run had when its writer was last heard of."""
    ours, theirs = processes.Pipe(duplex=False)
    arguments = (where, run_record().id, positions, theirs)
    writer = processes.Process(target=store_writers.write_all, args=arguments)
    writer.start()
    theirs.close()
    told = ours.recv() + 1
    time.sleep(delay_s)
    writer.kill()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    while True:
        try:
            told = ours.recv() + 1
        except EOFError:
            return told
