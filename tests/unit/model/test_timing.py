"""The prediction: exact where arithmetic knows the answer, within bounds everywhere else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.model.bounds import predict_bounds
from harness.model.calibration import parse_calibration, render_calibration
from harness.model.costs import MachineCosts, PairCosts, PairStep, pair_costs
from harness.model.predict import load_calibration, predict_curve, predict_point, predict_sweep
from harness.model.timing import Design, VmallocSimulation

FLAT = MachineCosts("flat", 1.0, 20.0, 0.03, (100.0,) * 4)
CHIPLETS = MachineCosts("chiplets", 0.27, 4.6, 0.01, (6.5, 24, 94, 94), 2, 8, 16, 1.64)
ZERO = PairStep(0.0)


def costs(think=1000.0, find=0.0, merge=0.0, counter=None, **steps):
    free = dict.fromkeys(("busy_insert", "busy_unlink", "lazy", "pool_take", "pool_add"), ZERO)
    given_steps = {name: PairStep(value) for name, value in steps.items()}
    return PairCosts(
        think_ns=think,
        find=PairStep(find),
        merge=PairStep(merge),
        **{**free, **given_steps},
        counters={"counter": 1.0} if counter is not None else {},
        counter=PairStep(counter or 0.0),
    )


def free_of_transfers(machine=FLAT):
    return replace(machine, transfer_ns=(0.0,) * 4)


def run(pair, cpus, nodes=1, machine=None, pairs=8_000, case="fix_size"):
    machine = machine or free_of_transfers()
    return VmallocSimulation(pair, machine, Design(nodes, lazy_max=500), cpus, case).run(pairs)


def test_one_cpu_takes_the_sum_of_its_costs():
    pair = costs(think=700.0, find=200.0, lazy=100.0)
    assert run(pair, 1).pairs_per_s == pytest.approx(1e6, rel=1e-6)


def test_cpus_without_a_shared_step_scale_linearly():
    assert run(costs(think=1000.0), 16).pairs_per_s == pytest.approx(16e6, rel=0.01)


def test_a_saturated_lock_sets_the_throughput():
    result = run(costs(think=100.0, find=250.0), 32)
    assert result.pairs_per_s == pytest.approx(4e6, rel=0.001)
    assert result.bottleneck == "free_vmap_area_lock"
    assert result.utilisation["free_vmap_area_lock"] == pytest.approx(1.0, abs=0.001)


def test_a_hand_over_to_a_waiter_costs_two_transfers_and_a_counter_one():
    # The first lock of a pair has a queue; it lets the CPUs reach the others one by one.
    lock = run(costs(think=100.0), 32, machine=FLAT)
    assert lock.pairs_per_s == pytest.approx(1e9 / 200, rel=0.01)
    counter = run(costs(think=100.0, counter=20.0), 32, nodes=32, machine=FLAT)
    assert counter.utilisation["counter"] == pytest.approx(1.0, abs=0.02)
    assert counter.pairs_per_s == pytest.approx(1e9 / 120, rel=0.05)


@pytest.mark.parametrize(("each", "visit_ns"), [(1, 94), (2, 94 + 24), (4, 94 + 3 * 24)])
def test_a_wanted_line_goes_round_each_complex_before_it_leaves(each, visit_ns):
    """Eight complexes of `each` cores, one update a pair, no work: a transfer for each update."""
    machine = MachineCosts("m", 1.0, 0.0, 0.0, (6.5, 24, 94, 94), 1, each, 2 * each)
    machine = replace(machine, nearest_first=True)
    pair, cpus = costs(think=100.0, counter=0.0), 8 * each
    result = run(pair, cpus, nodes=cpus, machine=machine, pairs=20_000)
    assert 1e9 / result.pairs_per_s == pytest.approx(visit_ns / each, rel=0.03)


def test_first_come_first_served_a_line_comes_from_anywhere():
    machine = MachineCosts("m", 1.0, 0.0, 0.0, (6.5, 24, 94, 94), 1, 4, 8)
    result = run(costs(think=100.0, counter=0.0), 32, nodes=32, machine=machine)
    mean = (3 * 24 + 28 * 94) / 31
    assert 1e9 / result.pairs_per_s == pytest.approx(mean, rel=0.1)


def test_a_lock_that_stays_in_a_complex_spares_the_way_of_its_lines():
    """Each visit to the lock fetches ten lines besides its own; 8 complexes of 4 cores."""
    machine = MachineCosts("m", 1.0, 0.0, 0.0, (6.5, 24, 94, 94), 1, 4, 8)
    pair = replace(costs(think=10.0), lazy=PairStep(0.0, (10 * 32 / 31,)))
    one_by_one = run(pair, 32, nodes=1, machine=machine)
    mean = (3 * 24 + 28 * 94) / 31
    assert 1e9 / one_by_one.pairs_per_s == pytest.approx(12 * mean, rel=0.1)
    near = run(pair, 32, nodes=1, machine=replace(machine, near_locks=True))
    # Three of four visits fetch from the complex, the fourth from anywhere.
    expected = 3 / 4 * 12 * 24 + 1 / 4 * (10 * mean + 2 * 94)
    assert 1e9 / near.pairs_per_s == pytest.approx(expected, rel=0.1)


def test_nodes_relieve_the_global_lock():
    pair = costs(think=1000.0, find=500.0, pool_take=10.0)
    assert run(pair, 32, nodes=32).pairs_per_s > 5 * run(pair, 32, nodes=1).pairs_per_s


def test_pools_serve_after_the_first_purge():
    result = run(costs(pool_take=1.0), 8, nodes=8)
    assert result.pool_hits > 0.9
    assert result.purges > 1


def test_a_pool_limit_below_the_size_turns_pools_off():
    pair = costs(find=300.0, pool_take=1.0)
    design = Design(8, pool_limit_pages=1, lazy_max=500)
    result = VmallocSimulation(pair, free_of_transfers(), design, 8, "fix_size").run(8_000)
    assert result.pool_hits == 0.0


def test_busy_siblings_slow_each_other():
    smt = replace(free_of_transfers(), threads_per_core=2, smt_factor=1.5)
    assert run(costs(), 2, machine=smt).pairs_per_s == pytest.approx(2e6 / 1.5, rel=0.01)
    assert run(costs(), 1, machine=smt).pairs_per_s == pytest.approx(1e6, rel=0.01)


def test_equal_runs_are_equal():
    pair = costs(find=100.0, lazy=50.0, counter=10.0)
    for machine in (CHIPLETS, replace(CHIPLETS, nearest_first=True, near_locks=True)):
        assert run(pair, 16, machine=machine) == run(pair, 16, machine=machine)


@settings(max_examples=30, deadline=None)
@given(
    cpus=st.integers(1, 24),
    nodes=st.sampled_from([1, 4, 24]),
    think=st.floats(50, 5000),
    find=st.floats(0, 1000),
    merge=st.floats(0, 500),
    lazy=st.floats(0, 500),
    counter=st.floats(0, 100),
    machine=st.sampled_from([FLAT, CHIPLETS, replace(CHIPLETS, nearest_first=True)]),
)
def test_the_simulation_stays_within_the_bounds(
    cpus, nodes, think, find, merge, lazy, counter, machine
):
    pair = costs(think, find, merge, counter, lazy=lazy, pool_take=5.0, pool_add=5.0)
    design = Design(nodes, lazy_max=100)
    found = VmallocSimulation(pair, machine, design, cpus, "fix_size").run(4_000).pairs_per_s
    bounds = predict_bounds(pair, machine, design, cpus)
    # Of a run's length only a part of the last purge may fall into the half that is measured.
    assert bounds.lower * 0.97 <= found <= bounds.upper * 1.05


@pytest.mark.parametrize("case", ["fix_size", "full_fit", "long_busy_list", "random_size"])
def test_the_shipped_calibration_predicts_the_series(case):
    single, *_, many = predict_curve(load_calibration(), CHIPLETS, case, [1, 16], pairs=6_000)
    assert single.ratio == pytest.approx(1.0, abs=0.01)
    assert many.ratio > 1.2
    for point in (many.single, many.many):
        assert point.bounds.lower <= point.prediction.pairs_per_s <= point.bounds.upper
        assert point.bounds.mean_value_analysis <= point.bounds.upper


def test_calibrated_costs_sum_to_what_was_measured():
    profile = load_calibration().cases["fix_size"]
    pair = pair_costs(profile["many"], profile["1"], 1, FLAT)
    steps = (pair.find, pair.busy_insert, pair.busy_unlink, pair.lazy, pair.merge)
    whole = FLAT.work_ns(profile["1"].work)
    total = pair.think_ns + sum(step.work_ns for step in steps)
    assert total == pytest.approx(whole, rel=0.15)  # the rest: locks of the rest of the kernel
    assert total <= whole


def test_a_sweep_changes_one_parameter():
    points = predict_sweep(
        load_calibration(), CHIPLETS, "fix_size", 4, "decay", [0.0, 1.0], pairs=4_000
    )
    assert [value for value, _ in points] == [0.0, 1.0]
    assert points[0][1].prediction.pool_hits >= points[1][1].prediction.pool_hits


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="choose one of"):
        predict_sweep(load_calibration(), FLAT, "fix_size", 1, "colour", [1.0])
    with pytest.raises(InputError, match="not calibrated"):
        predict_point(load_calibration(), FLAT, "no_case", 1, Design(1))
    with pytest.raises(InputError, match="unknown calibration"):
        load_calibration("linux-0.01")


def test_stale_lines_follow_from_their_age():
    step = PairStep(0.0, (1.0, 2.0, 4.0))
    assert step.stale(1, 10**9) == pytest.approx(1.0)
    assert step.stale(2, 10**9) == pytest.approx(3.0)
    assert step.stale(3, 10**9) == pytest.approx(5.0)
    assert step.stale(100, 2) == pytest.approx(3.5)
    assert step.stale(100, 1) == 0.0


def test_a_calibration_survives_its_file():
    calibration = load_calibration()
    assert parse_calibration(render_calibration(calibration), "x") == calibration


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1}'])
def test_a_wrong_calibration_is_refused(text):
    with pytest.raises(InputError, match="broken"):
        parse_calibration(text, "broken")


def test_counters_that_are_neighbours_in_memory_are_one_line():
    profile = load_calibration().cases["fix_size"]
    pair = pair_costs(profile["many"], profile["1"], 64, FLAT)
    assert pair.counters == {"nr_vmalloc_pages+vmap_lazy_nr": pytest.approx(3.0, abs=0.01)}


def test_a_cleared_page_costs_its_bytes():
    plain, cleared = (
        predict_point(
            load_calibration(), FLAT, "fix_size", 1, Design(1), 2_000, cleared=cleared
        ).prediction
        for cleared in (False, True)
    )
    more_ns = 1e9 / cleared.pairs_per_s - 1e9 / plain.pairs_per_s
    assert more_ns == pytest.approx(4096 * FLAT.byte_ns, rel=0.001)
