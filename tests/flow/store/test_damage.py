"""A store whose file a disk has spoiled is read, or said to be damaged: nothing else."""

import io
import random

import pytest

from harness.errors import VmapbenchError
from harness.report.collect import collect_report
from harness.store import export
from harness.store.history import load_history
from harness.store.store import open_store
from tests.synthetic_runs import write_synthetic_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_synthetic_run(folder, thread_counts=(2,), repeats=2).close()
    return (folder / "vmapbench.db").read_bytes()


def spoiled(content, generator):
    data = bytearray(content)
    for _ in range(generator.choice([1, 3, 30, 300])):
        data[generator.randrange(len(data))] = generator.choice([0, 255, generator.randrange(256)])
    return bytes(data[: generator.choice([len(data), generator.randrange(len(data))])])


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5, 8])
def test_bytes_that_are_others_end_in_words(content, tmp_path, seed):
    generator = random.Random(seed)
    for number in range(5):
        path = tmp_path / f"{number}.db"
        path.write_bytes(spoiled(content, generator))
        read(path)


def test_text_that_is_no_utf_8_and_facts_that_are_no_json_end_in_words(content, tmp_path):
    for number, (old, new) in enumerate(
        [(b"CREATE TABLE runs", b"CREATE TABLE r\xffns"), (b'{"', b"{{"), (b'"}', b'"\xff')]
    ):
        path = tmp_path / f"{number}.db"
        assert old in content
        path.write_bytes(content.replace(old, new))
        assert read(path), old


def read(path):
    """Read all of a store; return what was said of it. Another error than ours fails the test."""
    said = []

    def attempt(read_part):
        try:
            return read_part()
        except VmapbenchError as error:
            said.append(str(error))
            return None

    store = attempt(lambda: open_store(path, must_exist=True))
    if store is None:
        return said
    runs = attempt(store.list_runs)
    for run in [] if runs is None else list(runs["id"])[:2]:
        for form in ("csv", "json", "ktap"):
            attempt(lambda run=run, form=form: export.export_run(store, run, form, io.BytesIO()))
        attempt(lambda run=run: collect_report(store, run))
    attempt(lambda: load_history(store))
    store.close()
    return said
