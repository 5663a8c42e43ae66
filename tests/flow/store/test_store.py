import dataclasses

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import InputError, StoreError
from harness.records import Sample
from harness.store.store import open_store
from harness.verdict import Verdict
from tests.flow.store.store_writers import CASES, WORKERS, boot_record, job_records, run_record

RUN = run_record().id


@pytest.fixture
def begun(store):
    store.create_run(run_record(), job_records())
    return store


def test_a_run_comes_back_as_it_was_kept(begun):
    assert begun.load_run(RUN) == run_record()
    assert begun.jobs(RUN) == job_records()


def test_a_boot_comes_back_as_it_was_kept(begun):
    begun.record_boot(RUN, boot_record(2))
    assert begun.boots(RUN) == [dataclasses.replace(boot_record(2), samples=())]


def test_samples_come_back_in_the_columns_of_the_analysis(begun):
    for position in (1, 0):
        begun.record_boot(RUN, boot_record(position))
    frame = begun.samples_frame(RUN)
    expected = [
        (
            *(RUN, boot, position, kernel, "page[nr_threads=8,cpus=4]", 4, WORKERS),
            *(sample.worker, sample.case, 1, 0, pd.NA, 1, 1000, sample.avg_us),
        )
        for boot, (position, kernel) in enumerate([(1, "per-cpu"), (0, "one-node")])
        for sample in sorted(boot_record(position).samples, key=lambda s: (s.worker, s.case))
    ]
    found = frame.sort_values(["boot", "worker", "case"]).itertuples(index=False, name=None)
    assert list(map(repr, found)) == list(map(repr, expected))
    assert frame["avg_us"].dtype == "int64"
    assert str(frame["xfailed"].dtype) == "Int32"
    assert set(frame["case"].cat.categories) == set(CASES)


def test_boots_come_back_in_the_columns_of_the_analysis(begun):
    begun.record_boot(RUN, boot_record(3))
    begun.record_boot(
        RUN, boot_record(0, verdict=Verdict.CRASHED, reason="oops", load_ns=None, samples=())
    )
    frame = begun.boots_frame(RUN)
    assert frame["boot"].tolist() == [0, 1]
    assert frame["position"].tolist() == [3, 0]
    assert frame["verdict"].tolist() == ["passed", "crashed"]
    assert frame["load_ns"].isna().tolist() == [False, True]


def test_several_runs_share_a_frame(begun):
    begun.create_run(run_record("other"), job_records())
    begun.record_boot("other", boot_record(0))
    begun.record_boot(RUN, boot_record(0))
    for frame in (begun.samples_frame([RUN, "other"]), begun.boots_frame([RUN, "other"])):
        assert set(frame["run_id"]) == {RUN, "other"}
    assert len(begun.samples_frame("other")) == WORKERS * len(CASES)


def test_frames_of_a_run_without_boots_are_empty_and_typed(begun):
    begun.record_boot(RUN, boot_record(0))
    begun.create_run(run_record("empty"), [])
    for read in (begun.samples_frame, begun.boots_frame):
        assert len(read("empty")) == 0
        assert read("empty").dtypes.astype(str).to_dict() == (
            read(RUN).dtypes.astype(str).to_dict()
        )


def test_the_same_attempt_is_kept_once(begun):
    first = begun.record_boot(RUN, boot_record(0))
    assert begun.record_boot(RUN, boot_record(0)) == first
    assert len(begun.boots(RUN)) == 1
    assert len(begun.samples_frame(RUN)) == WORKERS * len(CASES)


def test_a_job_with_a_final_verdict_takes_no_second_boot(begun):
    begun.record_boot(RUN, boot_record(0))
    with pytest.raises(StoreError, match="job 0 already has a result"):
        begun.record_boot(RUN, boot_record(0, folder="logs/0000-2"))


@pytest.mark.parametrize("verdict", [Verdict.NOISY, Verdict.INTERRUPTED])
def test_a_spoiled_boot_is_repeated(begun, verdict):
    begun.record_boot(RUN, boot_record(0, verdict=verdict))
    assert begun.record_boot(RUN, boot_record(0, folder="logs/0000-2")) == 1
    listed = begun.list_runs().iloc[0]
    assert (listed["jobs"], listed["done"], listed["boots"]) == (4, 1, 2)


def test_a_boot_that_cannot_be_kept_whole_is_not_kept_at_all(begun):
    twice = Sample(0, "fix_size_alloc_test", 1, 0, 0, 1, 1, 1)
    with pytest.raises(StoreError, match="recording a boot"):
        begun.record_boot(RUN, boot_record(0, samples=(twice, twice)))
    assert begun.boots(RUN) == []


@pytest.mark.parametrize(
    "changes", [{"case": "a,b"}, {"avg_us": 2**63}, {"loops": 2**31}, {"worker": -1}]
)
def test_numbers_and_names_that_no_log_can_hold_are_refused(begun, changes):
    sample = boot_record(0).samples[0]._replace(**changes)
    with pytest.raises(StoreError, match="recording a boot"):
        begun.record_boot(RUN, boot_record(0, samples=(sample,)))


def test_a_boot_of_an_unknown_run_or_job_is_refused(begun):
    with pytest.raises(StoreError, match="is not in this store"):
        begun.record_boot("nothing", boot_record(0))
    with pytest.raises(StoreError, match="recording a boot"):
        begun.record_boot(RUN, boot_record(99))


def test_runs_are_named_by_id_by_beginning_and_as_the_latest(begun):
    later = run_record("20261124-000000-smoke-ffff", started_at="2026-11-24T00:00:00+00:00")
    begun.create_run(later, job_records())
    assert begun.resolve("latest") == later.id
    assert begun.resolve("20261123") == begun.resolve(RUN) == RUN
    with pytest.raises(InputError, match="several.*20261123.*20261124"):
        begun.resolve("2026112")
    with pytest.raises(InputError, match="no id begins with this.*20261124"):
        begun.resolve("x")


def test_a_store_without_runs_says_so(store):
    with pytest.raises(InputError, match="none yet"):
        store.resolve("latest")
    with pytest.raises(InputError, match="no such run"):
        store.load_run("x")
    assert store.list_runs().empty


def test_finishing_a_run_is_remembered(begun):
    begun.finish_run(RUN, "2026-11-23T04:00:00+00:00")
    assert begun.load_run(RUN).finished_at == "2026-11-23T04:00:00+00:00"


def test_what_is_kept_is_there_for_another_process(begun, where):
    begun.record_boot(RUN, boot_record(1))
    again = open_store(where, must_exist=True)
    assert again.boots(RUN) == begun.boots(RUN)
    again.close()


_texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
_samples = st.dictionaries(
    st.tuples(st.integers(0, 65534), st.from_regex(r"[a-z_0-9]{1,20}", fullmatch=True)),
    st.tuples(
        *[st.integers(0, 2**31 - 1)] * 2,
        st.none() | st.integers(0, 2**31 - 1),
        *[st.integers(0, 2**31 - 1)] * 2,
        st.integers(0, 2**63 - 1),
    ),
    max_size=5,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(reason=_texts, facts=st.dictionaries(_texts, _texts, max_size=2), samples=_samples)
def test_whatever_a_kernel_reports_comes_back(store, reason, facts, samples):
    known = len(store.list_runs())
    run = run_record(f"run-{known}", playbook=reason)
    store.create_run(run, job_records(1))
    rows = [Sample(*key, *values) for key, values in samples.items()]
    store.record_boot(run.id, boot_record(0, reason=reason, facts=facts, samples=rows))
    (boot,) = store.boots(run.id)
    assert boot.facts == facts
    assert boot.reason == reason.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    names = list(Sample._fields)
    found = store.samples_frame(run.id)[names].astype(object).itertuples(index=False, name=None)
    assert {tuple(None if value is pd.NA else value for value in row) for row in found} == set(rows)
