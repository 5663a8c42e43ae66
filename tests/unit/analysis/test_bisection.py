"""The decisions of a bisection, on generated boots; the rates are in tests/flow."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.analysis.bisection import CONTROL_GAP, Phase, decide, step_count
from harness.analysis.bisection_ends import (
    LEAST_BOOTS,
    EndsDifference,
    SearchBounds,
    TimedBoot,
    compare_ends,
    smallest_shown,
    what_would_show,
)

BOUNDS = SearchBounds()


def carried_out(commits, culprit, untestable=(), effect=1.2, spread=0.0, seed=0, bounds=BOUNDS):
    """Bisect commits whose times are generated; return the last state, the boots, the skipped."""
    generator, boots, skipped = random.Random(seed), [], set()
    for _ in range(10_000):
        state = decide(commits, boots, skipped, bounds)
        if state.next_commit is None:
            return state, boots, skipped
        if state.next_commit in untestable:
            skipped.add(state.next_commit)
            continue
        slow = math.log(effect) if state.next_commit >= culprit else 0.0
        time_us = 1e6 * math.exp(slow + generator.gauss(0, spread))
        boots.append(TimedBoot(state.next_commit, time_us, state.next_layout))
    raise AssertionError("it never ends")


@st.composite
def histories(draw):
    commits = draw(st.integers(1, 40))
    culprit = draw(st.integers(1, commits))
    untestable = draw(st.sets(st.integers(1, max(1, commits - 1)), max_size=commits // 2))
    return commits, culprit, untestable - {commits}


@settings(max_examples=25)
@given(histories(), st.sampled_from([0.8, 0.95, 1.03, 1.5, 20.0]))
def test_without_noise_the_culprit_is_always_among_the_suspects(history, effect):
    commits, culprit, untestable = history
    state, boots, skipped = carried_out(commits, culprit, untestable, effect)
    assert state.phase is Phase.FOUND
    assert culprit in state.suspects
    assert skipped <= untestable
    assert set(state.suspects) - {state.first_bad} <= skipped, "only what cannot be tried is open"
    assert state.last_good not in skipped
    in_steps = sum(0 < boot.commit < commits for boot in boots)
    assert in_steps <= 2 * (step_count(commits) + len(skipped))
    assert len(boots) - in_steps <= 2 * LEAST_BOOTS + in_steps, "no more controls than tests"


def test_one_boot_a_step_is_enough_where_nothing_is_in_doubt():
    state, boots, _ = carried_out(32, 21, effect=1.2, spread=0.0)
    assert list(state.suspects) == [21]
    assert len(boots) == 2 * LEAST_BOOTS + 5 + 1, "and one of GOOD or BAD on the way"
    assert state.probabilities[21] > 0.95


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(1e-3, 1e6))
def test_the_unit_of_time_and_the_time_of_day_do_not_matter(seed, unit):
    state, boots, skipped = carried_out(12, 5, {6}, spread=0.03, seed=seed)
    scaled = [replace(boot, time_us=boot.time_us * unit) for boot in boots]
    again = decide(12, scaled, skipped, BOUNDS)
    assert (again.suspects, again.phase) == (state.suspects, state.phase)
    assert again.probabilities == pytest.approx(state.probabilities, rel=1e-6, abs=1e-12)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
@example(38)
@example(49)
def test_what_was_decided_stays_unless_later_boots_bring_it_in_doubt(seed):
    _, boots, skipped = carried_out(20, 9, {10}, effect=1.15, spread=0.04, seed=seed)
    good, bad, decided = 0, 20, {}
    for count in range(len(boots) + 1):
        state = decide(20, boots[:count], skipped, BOUNDS)
        steps = {n: step.bad for n, step in state.steps.items() if step.bad is not None}
        assert all(n >= state.first_bad if is_bad else n <= state.last_good
                   for n, is_bad in steps.items())  # fmt: skip
        taken_back = {n for n in decided if steps.get(n) != decided[n]}
        for n in taken_back:
            is_bad = sum(state.probabilities[: n + 1])
            error = 1 - is_bad if decided[n] else is_bad
            assert error > BOUNDS.beta / 20, "what is sure is not taken back"
        if not taken_back:
            assert good <= state.last_good < state.first_bad <= bad, "it only narrows"
        good, bad, decided = state.last_good, state.first_bad, steps
        assert sum(state.probabilities) == pytest.approx(1)
        assert state.probabilities[0] == 0


def test_noise_asks_for_more_boots_of_the_same_commit():
    quiet = carried_out(32, 7, effect=1.1, spread=0.001)[1]
    noisy = carried_out(32, 7, effect=1.1, spread=0.04, seed=3)[1]
    assert len(noisy) > 1.5 * len(quiet)
    inner = [boot.commit for boot in noisy if boot.commit not in (0, 32)]
    changes = sum(a != b for a, b in itertools.pairwise(inner))
    assert changes + 1 == len(set(inner)), "a commit is finished before the next is built"


def test_while_a_commit_is_in_doubt_good_and_bad_are_booted_beside_it():
    boots = carried_out(32, 7, effect=1.05, spread=0.02, seed=3)[1]
    known = [boot.commit in (0, 32) for boot in boots]
    assert not any(known[n : n + CONTROL_GAP + 1] == [False] * (CONTROL_GAP + 1)
                   for n in range(len(known)))  # fmt: skip
    controls = [boot.commit for boot in boots if boot.commit in (0, 32)]
    assert abs(controls.count(0) - controls.count(32)) <= 1


def test_a_host_that_gets_slower_is_not_taken_for_the_change():
    """Without controls, 20 % of drift over the boots would pass for the 5 % that are looked for."""
    for seed in range(5):
        generator, boots = random.Random(seed), []
        while (state := decide(32, boots, (), BOUNDS)).next_commit is not None:
            log = 0.005 * len(boots) + generator.gauss(0, 0.005)
            log += math.log(1.05) * (state.next_commit >= 30)
            boots.append(TimedBoot(state.next_commit, math.exp(log), state.next_layout))
        assert 30 in state.suspects
        assert state.effect.ratio == pytest.approx(1.05, abs=0.02)


def test_good_and_bad_once_told_apart_stay_so():
    boots = [TimedBoot(n % 2 * 8, 1.0 + 0.3 * (n % 2) + 0.001 * n) for n in range(6)]
    later = [TimedBoot(n % 2 * 8, 3.0 - n % 2) for n in range(6)]
    assert decide(8, boots, (), BOUNDS).phase is Phase.SEARCHING
    assert compare_ends(8, [*boots, *later]).p > BOUNDS.alpha
    assert decide(8, [*boots, *later], (), BOUNDS).phase is Phase.SEARCHING


def test_good_and_bad_alike_end_without_a_step():
    state, boots, _ = carried_out(8, 3, effect=1.0, spread=0.02, bounds=SearchBounds(most_boots=6))
    assert state.phase is Phase.NO_DIFFERENCE
    assert len(boots) == 12
    assert state.next_commit is None


def test_a_difference_as_small_as_that_of_harmless_builds_is_none():
    state, _, _ = carried_out(8, 3, effect=1.001, spread=0.0, bounds=SearchBounds(most_boots=4))
    assert state.phase is Phase.NO_DIFFERENCE


def test_a_commit_in_the_middle_is_left_undecided_and_the_search_goes_round_it():
    boots, bounds = [], SearchBounds(most_boots=5)
    for _ in range(200):
        state = decide(8, boots, (), bounds)
        if state.next_commit is None:
            break
        log = {True: 0.2, False: 0.0}[state.next_commit >= 5]
        log = 0.1 if state.next_commit == 4 else log
        boots.append(TimedBoot(state.next_commit, math.exp(log), state.next_layout))
    assert state.steps[4].bad is None
    assert state.steps[4].boots == 5
    assert state.steps[4].place == pytest.approx(0.5)
    assert list(state.suspects) == [4, 5]


def test_after_a_commit_that_cannot_be_tried_its_neighbours_are_avoided():
    boots = [TimedBoot(end, time) for end, time in ((0, 1.0), (32, 1.3)) for _ in range(3)]
    first = decide(32, boots, (), BOUNDS).next_commit
    assert first == 16
    assert abs(decide(32, boots, {16}, BOUNDS).next_commit - 16) >= 3


@pytest.mark.parametrize("layout", [0.0, 0.02])
def test_the_boots_that_would_show_a_difference_do_show_it(layout):
    effect, bounds = EndsDifference(1.03, 0.03, 0.2, layout), SearchBounds(most_boots=20)
    boots, builds = what_would_show(effect, bounds)
    assert boots > 20
    assert (builds > bounds.layouts) == bool(layout), "boots do not average out what builds do"
    enough = SearchBounds(most_boots=boots, layouts=builds)
    assert smallest_shown(effect, enough) < 0.035
    assert smallest_shown(effect, bounds) > 0.03
    assert what_would_show(EndsDifference(1.001, 0.03, 0.9), bounds) is None
    rng, shown = np.random.default_rng(1), 0
    for _ in range(200):
        levels = rng.normal(0, layout, (2, builds)) if layout else np.zeros((2, builds))
        logs = levels[:, np.arange(boots) % builds] + rng.normal(0, 0.03, (2, boots))
        logs[1] += math.log(1.03)
        taken = [
            TimedBoot(end, math.exp(log), n % builds)
            for end in (0, 1)
            for n, log in enumerate(logs[end])
        ]
        shown += compare_ends(1, taken).p < bounds.alpha_of_look
    assert 0.6 < shown / 200 < 0.9, "t has fewer degrees of freedom than the plan allows for"


def test_builds_of_the_same_code_that_differ_are_not_taken_for_a_difference():
    """GOOD and BAD differ by 4 % in their first build, whose code happens to lie so."""
    generator, boots = random.Random(3), []
    places = {(0, 0): 0.0, (8, 0): 0.04}
    while (state := decide(8, boots, (), BOUNDS)).next_commit is not None:
        build = state.next_commit, state.next_layout
        log = places.setdefault(build, generator.gauss(0, 0.015)) + generator.gauss(0, 0.002)
        boots.append(TimedBoot(state.next_commit, math.exp(log), state.next_layout))
    assert state.phase is Phase.NO_DIFFERENCE
    assert state.effect.layout == pytest.approx(0.015, rel=0.5)
    assert state.effect.spread == pytest.approx(0.002, rel=0.5)
    once = [replace(boot, layout=0) for boot in boots if boot.layout == 0]
    assert compare_ends(8, once).p < BOUNDS.alpha_of_look, "one build of each would have shown it"


def test_a_commit_whose_builds_differ_is_built_again_before_it_is_decided():
    generator, boots, places = random.Random(5), [], {}
    while (state := decide(16, boots, (), BOUNDS)).next_commit is not None:
        build = state.next_commit, state.next_layout
        log = places.setdefault(build, generator.gauss(0, 0.02)) + generator.gauss(0, 0.002)
        log += math.log(1.06) * (state.next_commit >= 11)
        boots.append(TimedBoot(state.next_commit, math.exp(log), state.next_layout))
    assert 11 in state.suspects
    assert max(step.builds for step in state.steps.values()) > 1
    assert all(layout < BOUNDS.layouts for _, layout in places)


def test_one_build_of_each_is_enough_where_no_more_may_be_made():
    _, boots, _ = carried_out(8, 3, bounds=SearchBounds(layouts=1))
    assert {boot.layout for boot in boots} == {0}


@pytest.mark.parametrize(("commits", "steps"), [(1, 1), (2, 1), (3, 2), (32, 5), (33, 6)])
def test_steps(commits, steps):
    assert step_count(commits) == steps
