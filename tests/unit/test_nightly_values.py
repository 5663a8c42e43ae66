"""The parts of a night that are values: the file, the order of jobs, the units, the news."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.changepoints import Direction, LevelChange, TrackedSeries
from harness.analysis.judging import Word
from harness.errors import InputError, SpecError
from harness.nightly.candidates import b4_argv
from harness.nightly.dates import missed_runs, nightly_date
from harness.nightly.notices import (
    Subject,
    change_notices,
    failure_notice,
    series_key,
    series_notice,
)
from harness.nightly.priority import Job, fits, ranked
from harness.nightly.state import Claim, NightlyRecord, NightlyState, Notice, PairRecord, load_state
from harness.nightly.timer import render_units
from harness.spec.nightly import NightlySpec, load_nightly

GOOD = """\
version: 1
playbooks: [quick.yaml]
candidates:
  - {name: topic, branch: main, git: ../linux}
  - {name: inbox, maildir: ~/Mail/vmalloc}
"""


def load(tmp_path, text):
    file = tmp_path / "mm.yaml"
    file.write_text(text)
    return load_nightly(file)


def test_a_good_file_is_taken(tmp_path):
    spec = load(tmp_path, GOOD)
    assert (spec.name, spec.budget_h, spec.at) == ("mm", 8.0, "01:00")
    assert spec.candidates[1].allowed_paths[0] == "mm/**/*.c"
    assert spec.path("../linux") == (tmp_path / "../linux").resolve()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("branch: main, ", "", "4: candidates.0: .*found none of branch, mbox"),
        ("branch: main", "branch: main, mbox: x", "found branch and mbox"),
        ("branch: main", "branch: --upload-pack=x", "4: candidates.0.branch"),
        (
            "git: ../linux",
            "git: ../linux, base: v6",
            "paths and sandbox apply to series only",
        ),
        ("inbox", "topic", "candidates named twice: topic"),
        ("version: 1", "version: 2", "1: version"),
        ("[quick.yaml]", "[quick.yaml, b/quick.yaml]", "two playbooks have the same name"),
        ("maildir: ~/Mail/vmalloc", "message_id: ../../x@y", "5: candidates.1.message_id"),
        (
            "maildir: ~/Mail/vmalloc",
            "mbox: x, commits: each",
            "commits: each applies to a branch only",
        ),
    ],
)
def test_faults_have_lines(tmp_path, old, new, words):
    with pytest.raises(SpecError, match=words) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert str(caught.value).count("\n") == 0  # one fault is told once


@pytest.mark.parametrize(
    "form",
    [
        *("{}", "<{}>", "https://lore.kernel.org/all/{}/", "https://lore.kernel.org/r/{}"),
        *("https://lore.kernel.org/linux-mm/{}/T/#u", "https://patch.msgid.link/{}"),
    ],
)
def test_a_message_id_is_taken_as_people_copy_it(tmp_path, form):
    given = form.format("20240102184633.748113-1-urezki@gmail.com")
    spec = load(tmp_path, GOOD.replace("maildir: ~/Mail/vmalloc", f'message_id: "{given}"'))
    assert spec.candidates[1].message_id == "20240102184633.748113-1-urezki@gmail.com"


@pytest.mark.parametrize("name", ["feature/x+y", "v6.12-rc3", "HEAD~3", "@", "topic=1,2", "fünf"])
def test_git_names_are_taken(tmp_path, name):
    spec = load(tmp_path, GOOD.replace("branch: main", f'branch: "{name}"'))
    assert spec.candidates[0].branch == name


@pytest.mark.parametrize("name", ["-x", "a b", "a:b", "a\\n", "x\\u0000", "a*", "../x:y", "a?"])
def test_what_git_takes_for_no_name_is_refused(tmp_path, name):
    with pytest.raises(SpecError, match=r"4: candidates\.0\.branch"):
        load(tmp_path, GOOD.replace("branch: main", f'branch: "{name}"'))


@pytest.mark.parametrize(
    ("notices", "words"),
    [
        ("{email: {to: [a@b], sender: 'a b'}}", "6: notices.email.sender"),
        ("{email: {to: [a@b], sender: a@b, host: h, user: u}}", "in the clear"),
        ("{webhook: {url: 'https://u:p@h/'}}", "6: notices.webhook.url"),
        ("{webhook: {}}", "name either url or url_variable"),
        ("{email: {to: [a@b], sender: a@b, password: x}}", "password"),
    ],
)
def test_no_secret_and_no_odd_address_is_taken(tmp_path, notices, words):
    with pytest.raises(SpecError, match=words):
        load(tmp_path, GOOD + f"notices: {notices}\n")


def test_the_most_informative_job_comes_first():
    jobs = [Job(key, "new", 60.0) for key in "abcdefghij"]
    pairs = {
        "a": PairRecord("new", "2026-01-03", 9),
        "b": PairRecord("new", "2026-01-02", 9),
        "c": PairRecord("new", "2026-01-03", 2),
        "d": PairRecord("old", "2026-01-03", 9),
        "e": PairRecord("old", "", 0, waiting_since="2026-01-01"),
        "f": PairRecord("", "", 0, 0, "2026-01-02", begun="text", begun_revision="new"),
        "h": PairRecord("new", "2026-01-03", claim=Claim("run", "2026-01-03", "slower")),
        "i": PairRecord("old", "2026-01-03", claim=Claim("run", "2026-01-03", "slower")),
        "j": PairRecord("new", "2026-01-03", claim=Claim("run", "2026-01-03", "slower", tries=1)),
    }
    done = ["g new", "h new", "i new", "j new"]
    assert [job.key for job in ranked(jobs, pairs, done)] == list("hfedcba")


@given(st.permutations([Job(key, "x", 1.0) for key in "abcd"]))
def test_the_order_does_not_depend_on_the_files(jobs):
    assert [job.key for job in ranked(jobs, {}, [])] == list("abcd")


def test_a_job_begins_when_it_fits_or_is_the_first():
    job = Job("a", "x", expected_s=100)
    assert fits(job, None, 100, first=False)
    assert not fits(job, None, 99, first=False)
    assert fits(job, PairRecord(elapsed_s=50), 99, first=False)
    assert fits(job, None, 1, first=True)
    assert not fits(job, None, 0, first=True)


def test_a_night_goes_from_noon_to_noon():
    at = dt.datetime(2026, 3, 29, 23, 30, tzinfo=dt.UTC)
    assert nightly_date(at) == nightly_date(at + dt.timedelta(hours=12)) == "2026-03-29"
    assert nightly_date(at + dt.timedelta(hours=13)) == "2026-03-30"
    assert missed_runs("2026-03-28", "2026-03-29") == missed_runs("", "2026-03-29") == 0
    assert missed_runs("2026-02-27", "2026-03-02") == 2


def test_the_state_survives(tmp_path):
    state = NightlyState(tmp_path / "state.json")
    state.nights.append(NightlyRecord("2026-01-01", "t", failures={"a": "b"}))
    state.pairs["k"] = PairRecord("r", begun="text", claim=Claim("run", "2026-01-01", "slower"))
    state.outbox.append(Notice("k", "t", "x", "2026-01-01", to=["email"]))
    state.save()
    assert load_state(tmp_path / "state.json") == state
    for text in ("{", "[]", '{"version": 9}'):
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(InputError, match="state"):
            load_state(tmp_path / "state.json")


def change(line="topic", at=10, direction=Direction.SLOWER, case="whole load", size=5.0):
    series = TrackedSeries("host", line, "w", 2, 2, case)
    runs = f"run{at}", f"2026-01-{at:02}", f"run{at + 3}"
    return LevelChange(series, *runs, direction, size, size - 1, size + 1)


ORDER = {f"run{night}": night for night in range(40)}
SUBJECTS = {"topic": Subject("topic", "main at 123", "2026-01-13")}


def notices(*changes, reported=()):
    return change_notices(changes, ORDER, dict.fromkeys(reported, ""), SUBJECTS, ["base"])


def test_one_change_in_several_figures_is_one_notice():
    (notice,) = notices(change(), change(case="fix_size", at=11, size=7.0))
    assert notice.title == "topic is slower: +7.0 % in fix_size since 2026-01-11"
    assert notice.worse
    assert max(map(len, notice.text.splitlines())) <= 72
    assert notices(change(case="late", at=13), reported=[notice.key]) == []
    assert len(notices(change(at=20), reported=[notice.key])) == 1
    assert len(notices(change(at=12, direction=Direction.FASTER), reported=[notice.key])) == 1


def test_what_the_baseline_shows_too_is_the_machines():
    (notice,) = notices(change(), change(line="base", at=9))
    assert notice.title.startswith("base is slower")
    assert "check the machine" in notice.text


def test_the_same_failure_has_the_same_key():
    first, again = (failure_notice("x", "no", night) for night in ("2026-01-01", "2026-01-02"))
    assert first.key == again.key != failure_notice("x", "other", "2026-01-01").key


def spec(tmp_path):
    return NightlySpec.model_construct(name="mm", at="01:00", budget_h=8.0, folder=tmp_path)


def test_units_quote_what_systemd_would_take_apart(tmp_path):
    argv = ["/opt/a b/python", "-m", "x", "100%", "$HOME", 'say "hi"']
    units = render_units(spec(tmp_path), argv, "/srv/vmap bench")
    service = units["vmapbench-mm.service"]
    assert 'ExecStart="/opt/a b/python" -m x 100%% "$$HOME" "say \\"hi\\""' in service
    assert "TimeoutStartSec=36000" in service
    assert "Persistent=true" in units["vmapbench-mm.timer"]


def test_b4_is_asked_by_words():
    argv = b4_argv("1@x", "https://lore.kernel.org/all", Path("/t"))
    assert argv[-1] == "1@x"
    assert "b4.midmask=https://lore.kernel.org/all/%s" in argv


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([Word.ALIKE, Word.SLOWER, Word.FASTER], "is slower and faster"),
        ([Word.ALIKE, Word.ALIKE], "makes no difference"),
        ([Word.ALIKE, Word.NO_DIFFERENCE], "shows no difference"),
        ([Word.TOO_FEW, Word.ALIKE], "is undecided: too few boots"),
        ([], "is undecided: nothing was compared"),
    ],
)
def test_a_notice_of_a_series_says_no_more_than_its_rows(words, said):
    subject = Subject("a-series", "mm: a series", "2026-01-01")
    key = series_key(subject, "1", "quick")
    assert series_notice(key, subject, words, "").title == f"a-series {said} (quick)"
