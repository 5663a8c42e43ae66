"""From what measure.c prints to a machine model; the program itself: tests/flow/targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.targets.simulated.machine import plugin_options
from harness.targets.simulated.measure import (
    Measurement,
    arbitration_of,
    distance,
    measure_machine,
    model_of,
    pairs_to_measure,
    parse_topology,
    parse_values,
    spread_out,
    transfers_of,
)


def topology(complexes: int, cores: int, threads: int) -> str:
    """What a machine of one package prints, second threads in the upper half as Linux has them."""
    first = complexes * cores
    lines = []
    for cpu in range(first * threads):
        core = cpu % first
        siblings = ",".join(str(core + first * thread) for thread in range(threads))
        low = core - core % cores
        shared = ",".join(
            f"{low + first * t}-{low + cores - 1 + first * t}" for t in range(threads)
        )
        lines.append(f"cpu {cpu} core {siblings} complex {shared} die {low // cores} package 0")
    return "\n".join(lines) + "\n"


def machine(text: str, near_ns: float = 24.0, contended=(100.0, 30.0)):
    """Answers as measure.c would on a machine with these figures."""
    cpus = {cpu.number: cpu for cpu in parse_topology(text)}
    answers = list(contended)

    def measure(words):
        if words[0] == "topology":
            return text
        if words[0] == "core":
            figures = ("clock_mhz 3700", "pause_cycles 65.0", "atomic_cycles 17.5")
            return "\n".join((*figures, "string_bytes_per_cycle 30.0", ""))
        if words[0] == "latency":
            return "latency_ns 1.10\n"
        if words[0] == "contended":
            return f"contended_ns {answers.pop(0)}\n"
        near = distance(cpus[int(words[1])], cpus[int(words[2])]) != "other_die_ns"
        return f"transfer_ns {near_ns if near else 94.0}\n"

    return measure


def found(text: str, **figures) -> Measurement:
    return measure_machine(machine(text, **figures), lambda _: None)


def test_a_machine_of_two_complexes_becomes_a_model_that_can_be_simulated():
    model = model_of("mine", "a machine", "measured", found(topology(2, 4, 2)))
    assert model.topology.threads_per_core == 2
    assert (model.topology.cores_per_complex, model.topology.dies) == (4, 2)
    assert model.transfers.same_complex_ns == 24.0
    assert model.transfers.other_die_ns == 94.0
    assert (model.clock_mhz, model.pause_cycles, model.atomic_cycles) == (3700, 65.0, 17.5)
    assert plugin_options(model)["per_ccx"] == 8
    given = {name for name, value in model if value is not None}
    assert given - {"version", "name", "summary", "sources"} <= set(model.sources)


def test_a_distance_that_the_machine_does_not_have_says_so():
    _, missing = transfers_of(found(topology(1, 4, 1)).transfers)
    assert missing == ["same_core_ns", "same_die_ns", "other_die_ns"]
    model = model_of("mine", "", "measured", found(topology(1, 4, 1)))
    assert "not on this machine: same_core_ns" in model.sources["transfers"]


@pytest.mark.parametrize(
    ("text", "contended", "expected"),
    [
        (topology(4, 4, 1), (100.0, 40.0), "nearest-first"),
        (topology(4, 4, 1), (100.0, 60.0), "first-come"),
        (topology(1, 8, 1), (100.0, 10.0), "first-come"),  # no complexes to tell apart
        (topology(8, 1, 1), (100.0, 10.0), "first-come"),  # no neighbours in them
    ],
)
def test_neighbours_first_is_what_makes_a_line_faster_with_more_cpus(text, contended, expected):
    assert arbitration_of(found(text, contended=contended))[0] == expected


def test_one_cpu_of_each_complex_comes_before_neighbours_and_threads():
    cpus = spread_out(parse_topology(topology(2, 2, 2)))
    assert [cpu.number for cpu in cpus] == [0, 2, 1, 3, 4, 6, 5, 7]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 2))
def test_each_distance_is_measured_by_a_few_pairs_and_every_pair_is_of_its_distance(n, m, k):
    cpus = parse_topology(topology(n, m, k))
    for name, pairs in pairs_to_measure(cpus).items():
        assert 1 <= len(pairs) <= 6
        assert all(distance(cpus[a], cpus[b]) == name for a, b in pairs)


def test_a_machine_of_one_cpu_has_nothing_to_measure_between_cpus():
    with pytest.raises(InputError, match="a machine with one CPU"):
        transfers_of(found(topology(1, 1, 1)).transfers)


@pytest.mark.parametrize("text", ["", "cpu x", "cpu 0 core 0 complex 0 die 0 package 0\nhello"])
def test_what_is_no_topology_is_refused(text):
    with pytest.raises(InputError, match="list of CPUs"):
        parse_topology(text)


@pytest.mark.parametrize("text", ["", "transfer_ns", "transfer_ns -1", "transfer_ns 0", "a 1\nb"])
def test_what_is_no_figure_is_refused(text):
    with pytest.raises(InputError, match="malformed"):
        parse_values(text)
