"""As many boots as a change takes to be seen, with generated boot times instead of boots."""

import datetime as dt
import random
import time

import pytest

from harness.cli.options import seconds, share
from harness.errors import InputError
from harness.run.detect import (
    Detect,
    extend_run,
    extend_within,
    plan_more,
    refuse_too_small,
    with_repeats,
)
from harness.run.plan import plan_jobs
from harness.run.session import Session
from harness.spec.playbook import load_playbook
from tests.flow.fakes import (
    PLAYBOOK,
    FakeTarget,
    Silent,
    fake_kernel,
    fake_playbook,
    render_fake_log,
)
from tests.flow.test_bisect_toy import quiet_host

COMMENTED = f"# why\n{PLAYBOOK.replace('repeats: 3', 'repeats: 5')}"


@pytest.fixture
def pilot(tmp_path, module_bytes):
    """Run a pilot of five boots a side, which spread by some per cent; return session and run."""

    def run(spread, results=None):
        generator = random.Random(7)
        logs = (render_fake_log(2, round(1e6 * generator.gauss(1, spread))) for _ in range(5000))
        target = FakeTarget(*(results or logs))
        (tmp_path / "kernels").mkdir()
        for name in ("slow", "fast"):
            text = "version: 1\nsource: {debian: linux-source-6.12}\n"
            (tmp_path / f"kernels/{name}.yaml").write_text(text)
        (tmp_path / "fake.yaml").write_text(COMMENTED.replace("name: fake\n", "", 1))
        session = Session(
            tmp_path / "kernels",
            tmp_path / "reports",
            Silent(),
            target=lambda *_: target,
            build=lambda spec, *_: fake_kernel(tmp_path / spec.name, spec.name, module_bytes),
            read_host=quiet_host,
        )
        session.reports.mkdir()
        return session, session.run(tmp_path / "fake.yaml").run_id

    return run


def boots(session, run_id):
    store = session.open_store()
    try:
        return store.boots(run_id), store.jobs(run_id), store.load_run(run_id)
    finally:
        store.close()


def test_a_run_gets_as_many_boots_as_the_change_takes(pilot, tmp_path):
    session, run_id = pilot(0.05)
    more = plan_more(session, run_id, Detect(0.05, 600))
    assert 5 < more.repeats < 40
    assert more.reason.startswith(f"5.0% takes {more.repeats} boots of each side")
    before = boots(session, run_id)[1]
    assert not extend_run(session, run_id, more.repeats, tmp_path / "fake.yaml").interrupted
    records, jobs, run = boots(session, run_id)
    assert len(records) == len(jobs) == 2 * more.repeats
    assert jobs[:10] == before
    assert run.plan["repeats"] == more.repeats
    assert run.finished_at is not None
    playbook = load_playbook(tmp_path / "fake.yaml")
    assert plan_jobs(playbook) == jobs
    assert playbook.text.startswith("# why\n")
    again = plan_more(session, run_id, Detect(0.05, 600))
    assert again.repeats == again.pilot == more.repeats


def test_the_time_bounds_the_boots_and_it_is_said(pilot):
    session, run_id = pilot(0.3)
    bounded = plan_more(session, run_id, Detect(0.03, 2))
    assert 5 < bounded.repeats <= 10
    assert f"time for {bounded.repeats} in 0.0333 min, which show only a larger" in bounded.reason
    out_of_time = plan_more(session, run_id, Detect(0.03, 0.5))
    assert out_of_time.repeats == out_of_time.pilot == 5
    endless = plan_more(session, run_id, Detect(0.006, 1e9))
    assert (endless.repeats, "takes over 1000 boots" in endless.reason) == (1000, True)


def test_boots_that_become_slower_end_it_in_time(pilot, tmp_path):
    session, run_id = pilot(0.3)
    ran = boots(session, run_id)[0]
    began = [dt.datetime.fromisoformat(boot.started_at).timestamp() for boot in ran]
    took_s = max(1.0, began[-1] + ran[-1].elapsed_s - began[0])
    detect = Detect(0.03, 3 * took_s)
    more = plan_more(session, run_id, detect)
    assert more.repeats in {14, 15}
    target = session.target()
    quick = target.boot
    target.boot = lambda *words: time.sleep(took_s / 2) or quick(*words)
    assert not extend_within(session, run_id, more, detect, tmp_path / "fake.yaml").interrupted
    records, jobs, run = boots(session, run_id)
    assert len(records) == len(jobs) == 2 * run.plan["repeats"] < 2 * more.repeats
    assert run.finished_at is not None
    assert extend_within(session, run_id, more, detect, tmp_path / "fake.yaml") is None


def test_a_pilot_that_says_nothing_ends_there(pilot):
    session, run_id = pilot(0, ["no summary"] * 10)
    more = plan_more(session, run_id, Detect(0.03, 600))
    assert more.repeats == more.pilot
    assert "no kernel with two boots that passed" in more.reason


def test_a_change_that_is_no_news_is_refused():
    with pytest.raises(InputError, match=r"0\.50% is not reported.*\n  next: .* 1%$"):
        refuse_too_small(Detect(0.005, 60), fake_playbook())
    assert with_repeats(PLAYBOOK.replace("name: fake\n", "", 1), 9, "fake").repeats == 9


@pytest.mark.parametrize(
    ("text", "expected"), [("20m", 1200), ("90s", 90), ("1h30m", 5400), ("2h", 7200), ("5min", 300)]
)
def test_times_are_read(text, expected):
    assert seconds("--within", text) == expected


@pytest.mark.parametrize(("text", "expected"), [("3%", 0.03), ("0.03", 0.03), ("150%", 1.5)])
def test_shares_are_read(text, expected):
    assert share("--detect", text) == expected


@pytest.mark.parametrize("text", ["", "3", "1", "0%", "-3%", "much"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(InputError, match=r"--detect: found .*, expected a share like 3% or 0\.03"):
        share("--detect", text)


@pytest.mark.parametrize("text", ["", "20", "0m", "-3m", "soon"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InputError, match=r"--within: found .*, expected a time like 20m"):
        seconds("--within", text)
