import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.targets.simulated.machine import (
    MACHINES,
    Memory,
    load_machine,
    machine_files,
    plugin_options,
    spread,
    with_arbitration,
)

TICKS = 1024


def test_models_of_the_package_load():
    assert {"threadripper-3970x", "uniform"} < set(machine_files(()))
    for name in machine_files(()):
        assert load_machine(name).name == name


def test_a_model_of_ones_own_comes_before_the_package_s(tmp_path):
    text = (MACHINES / "uniform.yaml").read_text(encoding="utf-8")
    for name in ("mine", "threadripper-3970x"):
        content = text.replace("clock_mhz: 1000", "clock_mhz: 2000")
        (tmp_path / f"{name}.yaml").write_text(content, encoding="utf-8")
        assert load_machine(name, [tmp_path / "none", tmp_path]).clock_mhz == 2000


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(
        InputError, match=r"unknown machine model 'x'; .*threadripper-3970x, .*uniform"
    ):
        load_machine("x")


@pytest.mark.parametrize("name", sorted(set(machine_files(())) - {"uniform"}))
def test_every_figure_of_a_real_machine_has_a_source(name):
    machine = load_machine(name)
    given = {name for name, value in machine if value is not None}
    assert given - {"version", "name", "summary", "sources"} == set(machine.sources)


def test_the_threadripper_has_64_threads_on_four_dies():
    options = plugin_options(load_machine("threadripper-3970x"))
    assert (options["per_core"], options["per_ccx"], options["per_die"]) == (2, 8, 16)
    assert 64 // options["per_die"] == 4


@pytest.mark.parametrize(
    ("jobs", "cores", "threads"),
    [(1, 1, 1), (4, 1, 1), (8, 1, 1), (16, 2, 1), (32, 4, 1), (64, 4, 2)],
)
def test_jobs_are_spread_one_a_complex_first(jobs, cores, threads):
    topology = spread(load_machine("threadripper-3970x"), jobs).topology
    assert (topology.cores_per_complex, topology.threads_per_core) == (cores, threads)


@pytest.mark.parametrize("jobs", [12, 128])
def test_jobs_that_cannot_be_spread_evenly_are_refused(jobs):
    with pytest.raises(ValueError, match="cannot be spread evenly"):
        spread(load_machine("threadripper-3970x"), jobs)


def test_another_arbitration_must_be_a_known_one():
    machine = load_machine("threadripper-3970x")
    assert with_arbitration(machine, None) == machine
    assert with_arbitration(machine, "nearest-first").arbitration == "nearest-first"
    with pytest.raises(InputError, match="'last-come'; expected one of first-come, nearest-first"):
        with_arbitration(machine, "last-come")


def test_caches_have_as_many_lines_as_the_model_says():
    options = plugin_options(load_machine("threadripper-3970x-calibrated"))
    assert (options["l2_lines"], options["l2_ways"]) == (8192, 8)
    assert (options["l3_lines"], options["l3_ways"]) == (262_144, 16)
    assert options["memory"] / TICKS == pytest.approx(91.5 * 3.7, abs=1)
    assert "memory" not in plugin_options(load_machine("threadripper-3970x"))


def test_a_cache_whose_sets_cannot_be_indexed_is_refused():
    memory = load_machine("threadripper-3970x-calibrated").memory
    with pytest.raises(ValueError, match=r"l2_kib 500 with 8 ways gives 1000 sets: .*power of two"):
        Memory(**{**memory.model_dump(), "l2_kib": 500})


def test_uniform_counts_a_nanosecond_an_instruction():
    options = plugin_options(load_machine("uniform"))
    assert options["instruction"] == TICKS
    assert options["transfer_package"] == 100 * TICKS
    assert options["smt_extra"] == 0


@given(st.integers(100, 10_000), st.floats(0, 1000))
def test_nanoseconds_become_ticks_of_the_clock(mhz, ns):
    uniform = load_machine("uniform")
    transfers = uniform.transfers.model_copy(update={"other_die_ns": ns})
    machine = uniform.model_copy(update={"clock_mhz": mhz, "transfers": transfers})
    ticks = plugin_options(machine)["transfer_package"]
    assert ticks / TICKS / mhz * 1000 == pytest.approx(ns, abs=0.5 / TICKS / mhz * 1000 + 1e-9)


@given(st.floats(1, 2))
def test_two_threads_together_do_what_the_model_says(throughput):
    machine = load_machine("uniform").model_copy(update={"smt_throughput": throughput})
    slower = 1 + plugin_options(machine)["smt_extra"] / 1024
    assert 2 / slower == pytest.approx(throughput, rel=0.001)
