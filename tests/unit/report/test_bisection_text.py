"""What a bisection under way and at its end is said to be."""

import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.analysis.bisection import decide
from harness.analysis.bisection_ends import SearchBounds, TimedBoot
from harness.build.source_range import SourceChange, SourceRange
from harness.report.bisection import as_document, render_outcome, render_progress
from harness.run.bisect import BisectionResult
from harness.run.bisect_plan import BisectPlan, BisectRequest

CHANGES = tuple(
    SourceChange(f"{n:03}-abc", f"{n:040x}", f"mm: Change {n}", n == 3) for n in range(9)
)
USUAL = SearchBounds()
ENDS = [TimedBoot(end, time, n) for end, time in ((0, 1.0), (8, 1.3)) for n in range(3)]


def outcome(boots, skipped=None, interrupted=False, bounds=USUAL):
    history = SourceRange(CHANGES, lambda _: pytest.fail("no kernel is asked for"))
    job = SimpleNamespace(workload="w")
    request = BisectRequest("good", "bad", bounds=bounds)
    plan = BisectPlan(request, SimpleNamespace(), history, job, repeats=3)
    skipped = skipped or {}
    state = decide(8, boots, skipped, bounds)
    return BisectionResult("a-run", plan, state, skipped, len(boots), interrupted)


def test_while_good_and_bad_are_compared_nothing_else_is_said():
    assert render_progress(outcome([])) == "comparing GOOD and BAD: 0 boots"
    assert "not shown to differ yet" in render_outcome(outcome([], interrupted=True))
    assert "vmapbench bisect --resume a-run" in render_outcome(outcome([], interrupted=True))


def test_the_command_that_resumes_names_the_folders_of_the_run():
    elsewhere = replace(outcome([], interrupted=True), folder_options=" --reports /data")
    assert "vmapbench bisect --resume a-run --reports /data" in render_outcome(elsewhere)


def test_progress_names_the_interval_and_what_comes_next():
    first = render_progress(outcome(ENDS))
    assert first == "8 left, 001-abc to 008-abc; each with about 12%; next 004-abc"
    second = render_progress(outcome([*ENDS, TimedBoot(4, 1.3)]))
    assert second.startswith("4 left, 001-abc to 004-abc; ")


def test_a_merge_says_how_to_go_on_within_it():
    boots = [*ENDS, TimedBoot(4, 1.3), TimedBoot(2, 1.0), TimedBoot(3, 1.3)]
    text = render_outcome(outcome(boots))
    assert f"{3:040x}  mm: Change 3" in text
    assert "It is a merge" in text
    assert render_progress(outcome(boots)).startswith("found: most likely 003-abc, ")


def test_what_cannot_be_tried_leaves_a_range():
    found = outcome([*ENDS, TimedBoot(4, 1.3), TimedBoot(2, 1.0)], {3: "build failed: no"})
    assert "One of 2 changes" in render_outcome(found)
    assert "skipped: build failed: no" in render_outcome(found)
    document = as_document(found)
    assert [change["name"] for change in document["suspects"]] == ["003-abc", "004-abc"]
    assert document["boots"]["in_steps"] == 2
    assert document["skipped"] == {"003-abc": "build failed: no"}


def laid_out(commit):
    """Commit 4 lies half way between those before it and those after it."""
    return 1.0 if commit < 4 else 1.14 if commit == 4 else 1.3


def test_a_build_that_lies_between_good_and_bad_is_said_to_be_unclear():
    boots, once = [replace(boot, layout=0) for boot in ENDS], SearchBounds(layouts=1)
    while (state := decide(8, boots, {}, once)).next_commit is not None:
        boots.append(TimedBoot(state.next_commit, laid_out(state.next_commit)))
    assert list(state.suspects) == [4, 5], "the one half way, and the first beyond"
    text = render_outcome(outcome(boots, bounds=once))
    assert "One of 2 changes is the first with" in text
    assert "; unclear." in text
    assert "Builds that should be alike differ by about " in text
    assert "next: vmapbench bisect --resume a-run --layouts 8" in text
    assert text.count("next:") == 1
    assert state.steps[4].boots < SearchBounds().most_boots, (
        "it does not go on where boots tell nothing"
    )


def test_boots_that_do_not_decide_say_how_to_go_on():
    bounds = SearchBounds(most_boots=4, layouts=1)
    generator, boots = random.Random(0), []
    while (state := decide(8, boots, {}, bounds)).next_commit is not None:
        noise = generator.gauss(0, 0.03)
        boots.append(TimedBoot(state.next_commit, math.exp(0.08 * (state.next_commit > 3) + noise)))
    text = render_outcome(outcome(boots, bounds=bounds))
    assert "4 boots of each do not decide" in text
    assert "next: vmapbench bisect --resume a-run --most-boots 8" in text
