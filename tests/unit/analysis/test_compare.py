import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.compare import compare
from harness.analysis.judging import Word
from harness.analysis.planning import required_boots
from harness.analysis.times import WHOLE_LOAD, Metric, boot_times
from harness.errors import InputError
from tests.unit.analysis.boot_frames import CASES, frames

seeds = st.integers(0, 10_000)
few = settings(max_examples=10, deadline=None)


def test_known_speed_up_is_faster():
    found = compare(*frames(ratio=2.0), "a", seed=1)
    assert set(found.rows["word"]) == {"faster"}
    assert len(found.rows) == 2 * len(CASES) + 1
    load = found.rows[found.rows["case"] == WHOLE_LOAD].iloc[0]
    assert load["low"] < 2 < load["high"]
    assert load["boots_baseline"] == load["boots_candidate"] == 5
    assert "faster" in found.answer
    mean = found.rows[found.rows["metric"] == Metric.MEAN].iloc[0]
    assert mean["throughput_candidate"] / mean["throughput_baseline"] == pytest.approx(
        mean["ratio"], rel=1e-3
    )
    assert 0.9 < mean["fairness_baseline"] <= 1


def test_points_of_a_sweep_are_in_the_order_of_their_numbers():
    names = [f"orders[nr_pages={pages}]" for pages in (1, 4, 16, 256)]
    both = [frames(seed=seed) for seed in range(len(names))]
    for name, pair in zip(names, both, strict=True):
        for frame in pair:
            frame["workload"] = name
            frame["run_id"] = name
    samples, boots = (pd.concat(parts) for parts in zip(*both, strict=True))
    found = compare(samples, boots, "a", seed=1)
    assert list(found.rows["workload"].unique()) == names


def test_slow_down_is_slower():
    assert set(compare(*frames(ratio=0.5), "a", seed=1).rows["word"]) == {"slower"}


def test_too_few_boots_claim_nothing():
    found = compare(*frames(ratio=12.0, boots=2), "a", seed=1)
    assert set(found.rows["word"]) == {"too few boots"}
    assert found.rows["note"].str.contains("fewer than 3").all()
    assert set(compare(*frames(boots=1), "a", seed=1).rows["word"]) == {"too few boots"}


def test_three_boots_claim_with_a_note():
    rows = compare(*frames(ratio=12.0, boots=3), "a", seed=1).rows
    assert set(rows["word"]) == {"faster"}
    assert np.isclose(rows["p_permutation"], 0.1).all()  # 2 of 20 splits
    assert rows["note"].str.contains("log-normal").all()


def test_wide_noise_is_too_noisy():
    assert set(compare(*frames(noise=0.5), "a", seed=1).rows["word"]) == {"too noisy"}


def test_only_common_cases_are_compared():
    data = frames(ratio=2.0, candidate_cases=(*CASES, "new_test"))
    found = compare(*data, "a", seed=1)
    new = found.rows[found.rows["case"].isin(["new_test", WHOLE_LOAD])]
    assert set(new["word"]) == {"not comparable"}
    assert new["p_adjusted"].isna().all()
    assert set(found.rows.drop(new.index)["word"]) == {"faster"}
    assert any("new_test" in note for note in found.notes)


def test_passes_of_different_work_are_not_comparable():
    samples, boots = frames(ratio=2.0)
    samples.loc[samples["kernel"] == "b", "loops"] = 500
    assert set(compare(samples, boots, "a", seed=1).rows["word"]) == {"not comparable"}


def test_boots_that_did_not_pass_do_not_count():
    samples, boots = frames(boots=6)
    worse = boots.astype({"verdict": "object"})
    worse.loc[[0, 3], "verdict"] = ["splat", "crashed"]
    found = compare(samples, worse, "a", seed=1)
    assert set(found.rows["boots_baseline"]) == set(found.rows["boots_candidate"]) == {5}
    assert found.excluded["boots"].sum() == 2
    kept = samples[~samples["boot"].isin([0, 3])]
    pd.testing.assert_frame_equal(compare(kept, boots.drop([0, 3]), "a", seed=1).rows, found.rows)


def test_boots_without_spread_are_no_proof_beyond_the_clock():
    samples, boots = frames(boots=3)
    samples["avg_us"] = 10
    rows = compare(samples, boots, "a", seed=1).rows
    case = rows[rows["metric"] == Metric.MEAN].iloc[0]
    assert case["word"] == Word.TOO_NOISY
    assert case["ratio"] == 1
    samples.loc[samples["kernel"] == "b", "avg_us"] = 11  # one step of the clock is 10 % of 10 us
    case = compare(samples, boots, "a", seed=1).rows.iloc[0]
    assert case["low"] < case["ratio"] < case["high"]
    assert case["p"] == 1


def test_a_step_of_the_clock_is_no_difference_however_many_boots():
    samples, boots = frames(boots=30)
    samples["avg_us"] = 21_043
    samples.loc[samples["kernel"] == "b", "avg_us"] = 21_042
    rows = compare(samples, boots, "a", seed=1).rows
    assert set(rows[rows["case"] != WHOLE_LOAD]["word"]) == {Word.ALIKE}
    samples["avg_us"] = 100
    samples.loc[samples["kernel"] == "b", "avg_us"] = 99  # rounding alone may be 1 %
    rows = compare(samples, boots, "a", seed=1).rows
    assert set(rows[rows["case"] != WHOLE_LOAD]["word"]) == {Word.NO_DIFFERENCE}


def test_what_is_worth_a_word_is_settable():
    data = frames(ratio=1.1, noise=0.001)
    words = {
        smallest: set(compare(*data, "a", seed=1, smallest=smallest).rows["word"])
        for smallest in (0.005, 0.3)
    }
    assert words == {0.005: {Word.FASTER}, 0.3: {Word.ALIKE}}


def test_a_word_interval_and_p_agree():
    for seed in range(5):
        rows = compare(*frames(ratio=1.02, noise=0.01, seed=seed), "a", seed=1).rows
        beyond = (rows["low"] > 1.005) | (rows["high"] < 1 / 1.005)
        assert list(beyond) == list(rows["p"] < 0.05)
        shown = rows["word"].isin([Word.FASTER, Word.SLOWER])
        assert not (shown & ~beyond).any()


def test_unknown_baseline_names_the_kernels():
    with pytest.raises(InputError, match="a, b"):
        compare(*frames(), "c", seed=1)


def test_missing_column_is_named():
    samples, boots = frames()
    with pytest.raises(InputError, match="loops"):
        compare(samples.drop(columns="loops"), boots, "a", seed=1)


@few
@given(seeds, st.sampled_from([3, 5]))
def test_swapping_sides_inverts_the_ratio(seed, boots):
    data = frames(ratio=1.3, boots=boots, seed=seed)
    one, other = (compare(*data, baseline, seed=1).rows for baseline in "ab")
    np.testing.assert_allclose(one["ratio"], 1 / other["ratio"])
    np.testing.assert_allclose(one["low"], 1 / other["high"])
    np.testing.assert_allclose(one["p"], other["p"])
    np.testing.assert_allclose(one["p_permutation"], other["p_permutation"])
    np.testing.assert_allclose(one["shift_us"], -other["shift_us"])


@few
@given(seeds, st.sampled_from([3, 10]))
def test_order_of_rows_does_not_matter_and_seed_decides(seed, boots):
    samples, booted = frames(boots=boots, seed=seed)
    one = compare(samples, booted, "a", seed=seed)
    other = compare(samples.sample(frac=1, random_state=seed), booted.iloc[::-1], "a", seed=seed)
    pd.testing.assert_frame_equal(one.rows, other.rows)
    assert one.answer == other.answer


@few
@given(seeds, st.sampled_from([1, 10, 1000]))
def test_the_unit_of_time_does_not_matter(seed, scale):
    samples, boots = frames(seed=seed)
    scaled = samples.assign(avg_us=samples["avg_us"] * scale)
    one, other = compare(samples, boots, "a", seed=1).rows, compare(scaled, boots, "a", seed=1).rows
    np.testing.assert_allclose(one["ratio"], other["ratio"], rtol=1e-6)
    for name in ("low", "high"):  # but for the rounding of times to whole units
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3)
    assert list(one["word"]) == list(other["word"])


def test_plan_grows_with_noise_and_shrinks_with_effect():
    def boots(noise, effect):
        data = boot_times(*frames(boots=10, noise=noise, seed=3))
        return required_boots(data, effect)["boots"].max()

    assert boots(0.02, 0.03) < boots(0.05, 0.03)
    assert boots(0.05, 0.10) < boots(0.05, 0.03)


def test_plan_allows_for_a_pilot_that_saw_too_little_spread():
    few, many = (boot_times(*frames(boots=boots, seed=3)) for boots in (3, 30))
    few, many = (required_boots(pilot, 0.03).iloc[0] for pilot in (few, many))
    assert few["upper_spread"] / few["spread"] > 1.5
    assert many["upper_spread"] / many["spread"] < 1.15


def test_plan_counts_the_comparisons():
    times = boot_times(*frames(boots=10))
    more = [times, *(times.assign(case=f"c{n}_test") for n in range(40))]
    one, many = (required_boots(pilot) for pilot in (times, pd.concat(more)))
    of_load = [rows.loc[rows["case"] == WHOLE_LOAD, "boots"].item() for rows in (one, many)]
    assert of_load[0] < of_load[1]


def test_a_pilot_of_one_boot_a_side_is_refused():
    with pytest.raises(InputError, match="the spread between boots is unknown"):
        required_boots(boot_times(*frames(boots=1)))


@pytest.mark.parametrize(("effect", "power"), [(0, 0.8), (0.03, 1.0), (-1, 0.8), (0.004, 0.8)])
def test_impossible_plans_are_refused(effect, power):
    with pytest.raises(InputError):
        required_boots(boot_times(*frames()), effect, power)


def test_no_passed_boot_is_an_answer_too():
    samples, boots = frames()
    crashed = boots.assign(verdict="crashed", load_ns=None)
    found = compare(samples.iloc[:0], crashed, "a", seed=1)
    assert found.rows.empty
    assert found.answer == "No boot of b can be compared with a."
    assert found.excluded["boots"].sum() == len(boots)


def test_a_candidate_that_never_boots_is_not_comparable():
    samples, boots = frames()
    dead = boots.astype({"verdict": "object"})
    dead.loc[dead["kernel"] == "b", "verdict"] = "crashed"
    found = compare(samples, dead, "a", seed=1)
    assert set(found.rows["word"]) == {"not comparable"}
    assert "not comparable" in found.answer
    assert "nan" not in found.answer


def conditions_of(boots, **of_kernel):
    """The same conditions for all boots of a kernel."""
    return {
        (str(row.run_id), int(row.boot)): of_kernel[str(row.kernel)]
        for row in boots.itertuples()
        if str(row.kernel) in of_kernel
    }


def test_boots_on_unlike_machines_are_not_comparable():
    samples, boots = frames(ratio=2.0)
    tuned, slow = {"cpu": "x", "governor": "performance"}, {"cpu": "x", "governor": "powersave"}
    found = compare(
        samples, boots, "a", seed=1, conditions=conditions_of(boots, a=tuned, b=slow)
    ).rows
    assert set(found["word"]) == {"not comparable"}
    assert found["note"].str.contains("governor: performance or powersave").all()
    assert not found["note"].str.contains("cpu").any()


def test_one_boot_that_was_tuned_otherwise_spoils_the_pair():
    samples, boots = frames(ratio=2.0)
    conditions = conditions_of(boots, a={"boost": "0"}, b={"boost": "0"})
    conditions[next(iter(conditions))] = {"boost": "1"}
    found = compare(samples, boots, "a", seed=1, conditions=conditions).rows
    assert set(found["word"]) == {"not comparable"}


def test_like_machines_and_facts_of_one_side_only_do_not_matter():
    samples, boots = frames(ratio=2.0)
    conditions = conditions_of(boots, a={"cpu": "x", "old": "1"}, b={"cpu": "x", "new": "2"})
    found = compare(samples, boots, "a", seed=1, conditions=conditions).rows
    assert set(found["word"]) == {"faster"}
    pd.testing.assert_frame_equal(found, compare(samples, boots, "a", seed=1).rows)


def whole_loads(samples, boots):
    times = boot_times(samples, boots)
    return times[times["case"] == WHOLE_LOAD].sort_values("boot")


def test_the_whole_load_is_the_load_call_while_ending_the_workers_is_little_of_it():
    samples, boots = frames(workers=8, scale=10)  # 8 x 10 ms of 2.5 s
    whole = whole_loads(samples, boots)
    assert set(whole["metric"]) == {Metric.LOAD}
    assert list(whole["time_us"]) == pytest.approx(list(boots["load_ns"] / 1000))


def test_a_short_load_ends_with_its_last_worker_on_both_sides():
    samples, boots = frames(workers=8)  # 8 x 10 ms of 250 ms
    samples["repeat"] = 2
    whole = whole_loads(samples, boots)
    assert set(whole["metric"]) == {Metric.LAST}
    first = samples[samples["boot"] == 0]
    assert whole["time_us"].iloc[0] == 2 * first.groupby("worker")["avg_us"].sum().max()
    assert any("last worker" in note for note in compare(samples, boots, "a", seed=1).notes)


def drifting(ratio, boots=6):
    """Boots in blocks of one of each kernel, over which everything becomes a fifth slower."""
    samples, booted = frames(ratio=ratio, boots=boots, noise=0.001, workers=2, scale=10)
    slower = 1 + 0.2 * samples["boot"] / (2 * boots)
    samples["avg_us"] = (1_000_000 / slower.map(lambda s: 1 / s)).astype(int)
    samples.loc[samples["kernel"] == "b", "avg_us"] = (samples["avg_us"] / ratio).astype(int)
    return samples, booted


def test_blocks_take_out_what_drifts_and_are_no_choice_of_the_result():
    data = drifting(1.06)
    free, paired = (compare(*data, "a", seed=1, blocks=blocks).rows for blocks in (False, True))
    cases = free["case"] != WHOLE_LOAD
    assert not set(free[cases]["word"]) & {Word.FASTER, Word.SLOWER}
    assert set(paired[cases]["word"]) == {Word.FASTER}
    assert set(paired["boots_baseline"]) == {6}


def test_a_block_with_one_side_only_is_left_out():
    samples, boots = frames(boots=6)
    lost = boots.astype({"verdict": "object"})
    lost.loc[[0, 3], "verdict"] = "crashed"
    found = compare(samples, lost, "a", seed=1, blocks=True).rows
    assert set(found["boots_baseline"]) == set(found["boots_candidate"]) == {4}


def test_a_session_that_is_slower_for_all_kernels_is_no_difference():
    kernel, boots = frames(ratio=1.2, boots=5, noise=0.001)
    reference = kernel.copy()
    found = compare(
        kernel, boots, "a", seed=1, references=(reference, boots[boots["verdict"] == "passed"])
    ).rows
    assert not set(found["word"]) & {Word.FASTER, Word.SLOWER}
    assert found["ratio"].to_numpy() == pytest.approx(1.0)


def test_no_verdict_where_there_may_be_none_says_why():
    found = compare(*frames(ratio=2.0), "a", seed=1, unjudged="one session each").rows
    assert set(found["word"]) == {Word.NOT_COMPARABLE}
    assert set(found["note"]) == {"one session each"}
    assert found["ratio"].notna().all()
    assert found["low"].isna().all()
