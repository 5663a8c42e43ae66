"""Whole nights with a real git, store and state; the boots' times are made up."""

import contextlib
import datetime as dt
import os
import random
import signal
from dataclasses import replace

import pytest

from harness.build.kernel import ensure_kernel
from harness.errors import InfrastructureError, InputError
from harness.locks import exclusive_lock
from harness.nightly.state import load_state
from harness.nightly.status import status_lines
from harness.report.write import write_results
from harness.store.store import open_store
from tests.flow.workplace import BRANCH, DIFF, Workplace

EACH = [BRANCH[0] | {"commits": "each"}]


def state(workplace):
    return load_state(workplace.reports / "nightly/tonight/state.json")


def runs(workplace):
    store = open_store(workplace.reports / "vmapbench.db")
    frame = store.list_runs()
    store.close()
    return frame


def test_a_night_measures_the_branch_against_its_baseline(workplace):
    workplace.commit(2)
    outcome = workplace.night(workplace.file(BRANCH)).run()
    assert outcome.exit_code == 0
    assert outcome.summary == "nightly tonight 2026-01-01: 1 of 1 measured, 0 news; 6 min"
    assert sorted(workplace.boots) == ["base"] * 3 + ["topic"] * 3
    assert len(set(workplace.built)) == 2
    assert workplace.sent == []
    again = workplace.night(workplace.file(BRANCH)).run()
    assert again.summary.endswith("(done before)")
    assert len(workplace.boots) == 6


def test_missed_nights_are_said_and_their_commits_caught_up(workplace):
    file = workplace.file(EACH)
    workplace.night(file).run()
    commits = [workplace.commit(value, f"mm: {value}")[:12] for value in (2, 3)]
    workplace.next_night(days=4)
    outcome = workplace.night(file).run()
    assert "2 of 2 measured" in outcome.summary
    assert "3 nightly runs missed before" in outcome.summary
    said = " ".join(workplace.said)
    assert all(commit in said for commit in commits)
    workplace.next_night()
    workplace.night(file).run()  # nothing new: the tip again
    assert state(workplace).tips["topic"].startswith(commits[-1])
    assert "topic|quick" in state(workplace).pairs


def test_what_the_night_is_too_short_for_comes_first_in_the_next(workplace):
    for value in (2, 3, 4):
        workplace.commit(value, f"mm: {value}")
    names = ("one", "two", "three")
    candidates = [{"name": n, "branch": f"main~{i}", "git": "linux"} for i, n in enumerate(names)]
    file = workplace.file(candidates, budget_h=0.15)  # 9 minutes: a run and a half
    summaries = []
    for _ in range(3):
        summaries.append(workplace.night(file).run().summary)
        workplace.next_night()
    assert set(workplace.boots) == {"base", *names}
    assert "1 of 3 measured, 2 carried over" in summaries[0]


def test_a_run_that_the_night_is_too_short_for_goes_on_in_the_next(workplace):
    workplace.commit(2)
    file = workplace.file(BRANCH, budget_h=0.05)  # 3 minutes: 3 of the 6 boots
    first = workplace.night(file).run()
    assert "0 of 1 measured, 1 carried over" in first.summary
    assert len(workplace.boots) == 3
    workplace.next_night()
    second = workplace.night(file).run()
    assert "1 of 1 measured" in second.summary
    assert len(workplace.boots) == 6
    assert len(runs(workplace)) == 1


def test_a_newer_tip_is_measured_rather_than_the_rest_of_the_old_one(workplace):
    workplace.commit(2)
    file = workplace.file(BRANCH, budget_h=0.05)
    workplace.night(file).run()
    workplace.commit(3)
    workplace.next_night()
    file = workplace.file(BRANCH)
    workplace.night(file).run()
    assert list(runs(workplace).passed) == [3, 6]


def killed_in_a_boot(workplace, file, boot):
    """Carry a night out in a process of its own that dies with SIGKILL; return whether it did."""
    child = os.fork()
    if child == 0:

        def die(number):
            if number == boot:
                os.kill(os.getpid(), signal.SIGKILL)

        workplace.before_boot = die
        try:
            workplace.night(file).run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_at_any_boot_a_night_goes_on_and_loses_nothing(workplace):
    workplace.commit(2)
    candidates = [*BRANCH, {"name": "older", "branch": "main~1", "git": "linux"}]
    file = workplace.file(candidates)
    moments = random.Random(5)
    for _ in range(4):
        assert killed_in_a_boot(workplace, file, moments.randint(1, 3))
    outcome = workplace.night(file).run()
    assert "2 of 2 measured" in outcome.summary
    frame = runs(workplace)
    assert list(frame.passed) == [6, 6]  # two runs, however often it was begun
    assert frame.boots.sum() == 12


def killed_at_a_save(workplace, file, save):
    """Likewise, at the moment that the state has been replaced for the `save`th time."""
    child = os.fork()
    if child == 0:
        from harness.nightly import state as module

        count, keep = [0], module.NightlyState.save

        def save_and_die(self):
            keep(self)
            count[0] += 1
            if count[0] == save:
                os.kill(os.getpid(), signal.SIGKILL)

        module.NightlyState.save = save_and_die
        try:
            workplace.night(file).run()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_between_any_two_steps_a_night_is_carried_out_once(workplace):
    workplace.commit(2)
    file = workplace.file(BRANCH)
    save = 1
    while killed_at_a_save(workplace, file, save):
        save += 1
        assert save < 30
    assert list(runs(workplace).passed) == [6]
    assert state(workplace).nights[-1].ended
    assert state(workplace).pairs["topic|quick"].nights == 1


def test_two_at_a_time_are_refused(workplace):
    night = workplace.night(workplace.file(BRANCH))
    with (
        exclusive_lock(night.folder / "lock", ""),
        pytest.raises(InputError, match=f"process {os.getpid()}"),
    ):
        night.run()


def test_a_candidate_that_fails_ends_alone_and_is_reported_once(workplace):
    gone = {"name": "gone", "branch": "no-such-branch", "git": "linux"}
    file = workplace.file([gone, *BRANCH])
    for _ in range(3):
        outcome = workplace.night(file).run()
        assert "1 of 1 measured" in outcome.summary
        assert "1 failed" in outcome.summary
        assert outcome.exit_code == 1
        workplace.next_night()
    assert len(workplace.sent) == 1
    assert "no-such-branch" in workplace.titles[0]
    workplace.git("branch", "no-such-branch")  # fixed
    assert workplace.night(file).run().exit_code == 0
    workplace.next_night()
    workplace.git("branch", "-D", "no-such-branch")  # and broken again: that is news
    workplace.night(file).run()
    assert len(workplace.sent) == 2


def test_a_kernel_that_does_not_build_or_crashes_is_news_once(workplace):
    workplace.commit(2)
    file = workplace.file(BRANCH)
    workplace.broken = {"topic"}
    assert workplace.night(file).run().exit_code == 1
    workplace.next_night()
    assert workplace.night(file).run().exit_code == 0  # nothing new
    assert workplace.titles == ["topic: build failed (quick)"]
    assert "mm/vmalloc.c:1: error: no" in workplace.sent[0][0].text
    workplace.broken = set()
    workplace.time_us = lambda spec, now: "Oops" if spec.name == "topic" else 2000
    workplace.next_night()
    workplace.night(file).run()
    assert workplace.titles[1:] == ["topic: crashed (quick)"]


def test_a_night_that_fails_is_news_too(workplace):
    file = workplace.file(BRANCH)
    (workplace.kernels / "base.yaml").unlink()
    for _ in range(2):
        with pytest.raises(InputError, match=r"base\.yaml"):
            workplace.night(file).run()
        workplace.next_night()
    assert len(workplace.sent) == 1
    assert workplace.titles[0].startswith("nightly run tonight: no kernel base")


def test_notices_that_cannot_be_sent_wait(workplace):
    def refuse(notice, page):
        raise InfrastructureError("mail through nowhere:25: refused")

    file = workplace.file([{"name": "gone", "branch": "no-such-branch", "git": "linux"}])
    good, workplace.send = workplace.send, {"made-up": refuse}
    outcome = workplace.night(file).run()
    assert outcome.exit_code == 3
    assert "mail through nowhere:25: refused" in outcome.errors[0]
    workplace.send = good
    assert workplace.night(file).run().exit_code == 0  # the same night, done before
    assert len(workplace.sent) == 1
    assert state(workplace).outbox == []


MAIL = """From mboxrd@z Thu Jan  1 00:00:00 1970
From: A <a@b.example>
Subject: [PATCH{version}] mm/vmalloc: Return {value}
Date: Tue, 02 Jan 2024 19:46:0{value} +0100
Message-ID: <value-{value}@b.example>
{more}

---
"""
MAIL += DIFF


class TimesOfASeries:
    """Times of the boots of a series that changes the result to 9; others take 2 ms.

    `slower`: how many times as long it takes in its first run, second run, and so on.
    """

    def __init__(self, *slower):
        self.wobble, self.slower, self.boots = random.Random(1), slower, 0

    def __call__(self, spec, now):
        patch = "".join((spec.folder / name).read_text() for name in spec.patches)
        factor = 1.0
        if "return 9" in patch:
            factor = self.slower[min(self.boots // 3, len(self.slower) - 1)]
            self.boots += 1
        if not factor:
            return "Oops"
        return int(20_000 * factor * self.wobble.gauss(1, 0.002))


def mailed(workplace, *slower, **more):
    """Return the file of nights on a mailbox with one series, which is as slow as said."""
    workplace.inbox = MAIL.format(version="", value=9, more="")
    (workplace.folder / "inbox").write_text(workplace.inbox)
    workplace.time_us = TimesOfASeries(*slower)
    return workplace.file([{"name": "inbox", "mbox": "inbox"}], **more)


def test_a_series_that_is_slower_is_reported_once_a_second_run_confirms_it(workplace):
    file = mailed(workplace, 1.5)
    workplace.write = write_results
    outcome = workplace.night(file).run()
    assert outcome.exit_code == 1
    assert "1 of 1 measured, 1 news" in outcome.summary
    first, second = runs(workplace).sort_values("started_at")["id"]
    (notice, page) = workplace.sent[0]
    assert notice.title.endswith("is slower (quick)")
    assert notice.message_id == "value-9@b.example"
    assert max(map(len, notice.text.splitlines())) <= 72
    assert f"First run:  {first}, nightly run of 2026-01-01" in notice.text
    assert f"Second run: {second}, nightly run of 2026-01-01" in notice.text
    assert "The first run shows 2 rows slower" in notice.text
    assert page.parent.name == second
    workplace.next_night()
    assert workplace.night(file).run().exit_code == 0
    assert len(workplace.sent) == 1
    better = MAIL.format(version=" v2", value=2, more="In-Reply-To: <value-9@b.example>")
    (workplace.folder / "inbox").write_text(workplace.inbox + better)
    workplace.next_night()
    workplace.night(file).run()
    assert len(workplace.sent) == 1  # no difference any more: quiet
    assert len({name for name in workplace.boots if name != "base"}) == 1  # one line


def test_what_only_the_first_run_shows_is_not_reported(workplace):
    file = mailed(workplace, 1.5, 1.0)
    outcome = workplace.night(file).run()
    assert (outcome.exit_code, workplace.sent) == (0, [])
    assert len(workplace.boots) == 12
    assert state(workplace).pairs[next(iter(state(workplace).pairs))].claim is None
    assert any("decides on the difference" in line for line in workplace.said)
    workplace.next_night()
    workplace.night(file).run()
    assert workplace.sent == []  # reported[key]: a third run is no new chance


def test_a_difference_in_the_other_direction_confirms_nothing(workplace):
    file = mailed(workplace, 1.5, 0.7)
    assert workplace.night(file).run().exit_code == 0
    assert workplace.sent == []


def test_where_verdicts_are_asked_for_both_runs_of_an_unconfirmed_one_are_reported(workplace):
    file = mailed(workplace, 1.5, 1.0, notices={"verdicts": True})
    assert workplace.night(file).run().exit_code == 0
    ((notice, _),) = workplace.sent
    assert notice.title.endswith("shows no difference (quick)")
    assert "confirms 0" in " ".join(notice.text.split())
    assert "not confirmed" in notice.text


def test_a_second_run_that_the_night_is_too_short_for_is_the_next_nights_first(workplace):
    file = mailed(workplace, 1.5, budget_h=0.15)  # 9 minutes: a run and a half
    outcome = workplace.night(file).run()
    assert outcome.exit_code == 0
    assert "1 of 1 measured, 1 to be confirmed, 0 news" in outcome.summary
    (line,) = [line for line in status_lines(state(workplace)) if line.startswith("to be")]
    assert "slower in " in line
    workplace.next_night()
    plan = workplace.night(file).plan()
    assert "second run pending" in plan.lines[1]
    outcome = workplace.night(file).run()
    assert outcome.exit_code == 1
    ((notice, _),) = workplace.sent
    assert "nightly run of 2026-01-01" in notice.text
    assert "nightly run of 2026-01-02" in notice.text
    assert not [line for line in status_lines(state(workplace)) if line.startswith("to be")]


def test_a_newer_version_leaves_nothing_of_the_older_one_to_confirm(workplace):
    file = mailed(workplace, 1.5, budget_h=0.15)
    workplace.night(file).run()
    better = MAIL.format(version=" v2", value=2, more="In-Reply-To: <value-9@b.example>")
    (workplace.folder / "inbox").write_text(workplace.inbox + better)
    workplace.next_night()
    assert "0 news" in workplace.night(file).run().summary
    assert [pair.claim for pair in state(workplace).pairs.values()] == [None]


def test_second_runs_that_decide_nothing_are_reported_as_undecided_after_three(workplace):
    file = mailed(workplace, 1.5, 0)
    for _ in range(3):
        workplace.night(file).run()
        workplace.next_night()
    assert [title.partition(" ")[2] for title in workplace.titles] == [
        "crashed (quick)",
        "is undecided: not comparable (quick)",
    ]
    assert "3 second runs could neither confirm nor refute" in " ".join(
        workplace.sent[1][0].text.split()
    )


def test_a_second_run_that_cannot_be_made_is_tried_on_three_nights(workplace):
    file = mailed(workplace, 1.5, budget_h=0.15)
    workplace.night(file).run()
    (key,) = state(workplace).pairs
    workplace.broken = {key.partition("|")[0]}
    for _ in range(3):
        workplace.next_night()
        workplace.night(file).run()
    assert [title.rpartition(": ")[2] for title in workplace.titles] == [
        "build failed (quick)",
        "not comparable (quick)",
    ]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_killed_between_any_two_steps_of_two_runs_the_notice_is_made_once(workplace):
    file = mailed(workplace, 1.5)
    save = 1
    while killed_at_a_save(workplace, file, save):
        save += 1
        assert save < 40
    assert list(runs(workplace).passed) == [6, 6]
    assert len([key for key in state(workplace).reported if key.startswith("series|")]) == 1
    kept = list((workplace.reports / "nightly/tonight/notices").iterdir())
    assert len(kept) == 1
    assert "is slower (quick)" in kept[0].read_text()


def test_a_hostile_mail_leaves_nothing_and_ends_alone(workplace):
    evil = MAIL.format(version="", value=9, more="").replace("mm/vmalloc.c", "../../../evil")
    (workplace.folder / "inbox").write_text(evil + MAIL.format(version=" v2", value=2, more=""))
    file = workplace.file([{"name": "inbox", "mbox": "inbox"}])
    outcome = workplace.night(file).run()
    assert "1 of 1 measured" in outcome.summary
    assert "1 failed" in outcome.summary
    assert list(workplace.folder.rglob("*evil*")) == []


def test_a_series_may_not_change_what_a_build_runs(workplace):
    evil = MAIL.format(version="", value=9, more="").replace("mm/vmalloc.c", "Makefile")
    (workplace.folder / "inbox").write_text(evil)
    outcome = workplace.night(workplace.file([{"name": "inbox", "mbox": "inbox"}])).run()
    assert outcome.exit_code == 1
    assert workplace.built == []


RUNS = """\
@@ -1,2 +1,3 @@
 # Out-of-tree builds only, with the source spoken of as `..` like kbuild does for a child folder.
+RAN := $(shell touch {ran})
 O ?= objects

"""


@pytest.mark.parametrize(
    ("more", "built", "ran"),
    [
        pytest.param({}, False, False, id="as shipped"),
        pytest.param({"paths": ["Makefile"]}, True, False, id="Makefiles allowed"),
        pytest.param({"paths": ["Makefile"], "sandbox": "none"}, True, True, id="no sandbox"),
    ],
)
def test_a_shell_command_that_came_by_mail_runs_nothing(workplace, more, built, ran):
    head = MAIL.format(version="", value=9, more="").replace("mm/vmalloc.c", "Makefile")
    planted = workplace.folder / "ran"
    text = head[: head.index("@@")] + RUNS.format(ran=planted)
    (workplace.folder / "inbox").write_text(text)
    (workplace.kernels / "base.config").write_text("CONFIG_SMP=y\nCONFIG_TEST_VMALLOC=m\n")
    keys = []

    def build(spec, cache, runner, progress):
        real = ensure_kernel(spec, cache, runner, progress)
        keys.append(real.spec.name)
        made_up = Workplace.build(workplace, spec, cache, runner, progress)
        return replace(real, module=made_up.module)  # the toy's has no parameters

    workplace.build = build
    file = workplace.file([{"name": "inbox", "mbox": "inbox", **more}])
    outcome = workplace.night(file).run()
    assert ("1 of 1 measured" in outcome.summary) is built, outcome.summary
    assert (len(set(keys)) == 2) is built  # the base, too
    assert planted.exists() is ran


def test_a_base_that_the_series_names_is_its_baseline(workplace):
    base = workplace.git("rev-parse", "HEAD")
    workplace.commit(5)
    workplace.git("tag", "-f", "v1")  # the baseline's source has moved on
    text = MAIL.format(version="", value=2, more="")
    text = text.replace("\n\n---", f"\n\nWhy.\n\nbase-commit: {base}\n---")
    (workplace.folder / "inbox").write_text(text)
    outcome = workplace.night(workplace.file([{"name": "inbox", "mbox": "inbox"}])).run()
    assert "1 of 1 measured" in outcome.summary, workplace.said
    assert sum(name.endswith("-base") for name in workplace.boots) == 3


def test_a_dry_run_says_the_order_and_changes_nothing(workplace):
    workplace.commit(2)
    gone = {"name": "gone", "branch": "no-such-branch", "git": "linux"}
    plan = workplace.night(workplace.file([*BRANCH, gone], budget_h=1)).plan()
    lines = plan.lines
    assert not plan.whole
    assert lines[0] == "nightly run of 2026-01-01, 1 h"
    assert lines[1].startswith("now: topic|quick, about 8 min: main at ")
    assert lines[2].startswith("not measured: gone: ")
    assert not workplace.reports.exists()
    assert workplace.boots == []


def test_the_machines_own_change_is_one_notice(workplace):
    wobble = random.Random(3)
    level = [1.0]
    workplace.time_us = lambda spec, now: int(20_000 * level[0] * wobble.gauss(1, 0.002))
    file = workplace.file(BRANCH)
    workplace.night(file).run()
    workplace.copy_nights(95, lambda: workplace.time_us(None, None))  # teach what is usual
    for night in range(9):
        level[0] = 1.2 if night >= 2 else 1.0
        workplace.night(file).run()
        workplace.next_night()
    (notice,) = [notice for notice, _ in workplace.sent]
    assert notice.title.startswith("base is slower")
    assert "check the machine" in notice.text


def test_a_clock_that_is_set_back_does_not_lengthen_the_night(workplace):
    for value in (2, 3, 4, 5):
        workplace.commit(value, f"mm: {value}")
    names = ("one", "two", "three", "four")
    candidates = [{"name": n, "branch": f"main~{i}", "git": "linux"} for i, n in enumerate(names)]
    file = workplace.file(candidates, budget_h=0.05)  # 3 minutes: 3 boots

    def set_back(number):
        if number == 1:
            workplace.now -= dt.timedelta(hours=6)

    workplace.before_boot = set_back
    outcome = workplace.night(file).run()
    assert len(workplace.boots) == 3
    assert outcome.summary.endswith("; 3 min")
    again = workplace.night(file).run()
    assert again.summary.endswith("(done before)")


def test_a_clock_that_is_set_ahead_does_not_end_the_night(workplace):
    workplace.commit(2)

    def set_ahead(number):
        if number == 1:
            workplace.now += dt.timedelta(hours=6)

    workplace.before_boot = set_ahead
    outcome = workplace.night(workplace.file(BRANCH, budget_h=0.2)).run()
    assert "1 of 1 measured" in outcome.summary


def test_after_a_restart_of_the_machine_the_time_of_day_tells_what_is_left(workplace):
    workplace.commit(2)
    file = workplace.file([*BRANCH, {"name": "older", "branch": "main~1", "git": "linux"}])
    night = workplace.night(file)

    def power_cut(number):
        raise KeyboardInterrupt

    workplace.before_boot = power_cut
    with contextlib.suppress(KeyboardInterrupt):
        night.run()
    workplace.before_boot = None
    workplace.now += dt.timedelta(hours=9)  # the budget is 8
    workplace.uptime_s, workplace.boot_id = 30.0, "second"
    outcome = workplace.night(file).run()
    assert "0 of 2 measured, 2 carried over" in outcome.summary
    assert len(workplace.boots) == 1


def test_a_notice_that_cannot_be_sent_blocks_no_other_and_is_given_up(workplace):
    refused, good = [], workplace.send["made-up"]

    def send(notice, page):
        if "gone" in notice.title:
            refused.append(notice.title)
            raise InfrastructureError("mail through here:25: 550 no such user")
        good(notice, page)

    workplace.send = {"made-up": send}
    gone = [{"name": n, "branch": "no-such-branch", "git": "linux"} for n in ("gone", "lost")]
    file = workplace.file([*gone, *BRANCH])
    outcome = workplace.night(file).run()
    assert [title.split(":")[0] for title in workplace.titles] == ["lost"]
    assert outcome.exit_code == 3
    assert "will be sent again: mail through here:25: 550 no such user" in outcome.errors[0]
    workplace.git("branch", "no-such-branch")
    workplace.next_night(days=13)
    assert "will be sent again" in workplace.night(file).run().errors[0]
    workplace.next_night()
    outcome = workplace.night(file).run()
    assert outcome.exit_code == 3
    assert "is dropped after 14 days; its text is in " in outcome.errors[0]
    assert "1 notices not delivered" in outcome.summary
    (kept,) = [
        p for p in (workplace.reports / "nightly/tonight/notices").iterdir()
        if p.read_text().startswith("gone: ")
    ]  # fmt: skip
    assert "no-such-branch" in kept.read_text()
    workplace.next_night()
    assert workplace.night(file).run().exit_code == 0
    assert len(refused) == 3
    assert state(workplace).outbox == []
