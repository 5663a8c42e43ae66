"""Lines on the times of single calls."""

from hypothesis import given
from hypothesis import strategies as st

from harness.testmod.latency import missing_latencies, parse_latencies
from harness.testmod.own import cases_module
from harness.testmod.workload import check_workload

LINE = "[ 3.1] Latency: vmap_test {} calls: 40 p50: 700 p99: 900 p999: 1000 max: 1002 nsec\n"
BOTH = LINE.format("alloc") + LINE.format("free")
TIMES = {"calls": 40, "p50": 700, "p99": 900, "p999": 1000, "max": 1002}


def load(**parameters):
    asked = {"run_test_mask": 2, "nr_threads": 2, "test_loop_count": 20, **parameters}
    return check_workload(asked, cases_module())


def test_each_call_of_each_case_is_read_and_the_last_load_counts():
    earlier = LINE.format("alloc").replace("40", "10")
    assert parse_latencies(earlier + BOTH) == [
        {"case": "vmap_test", "call": call, **TIMES} for call in ("alloc", "free")
    ]


def test_times_out_of_order_are_no_percentiles():
    assert parse_latencies(BOTH.replace("p50: 700", "p50: 901")) == []


def test_a_load_that_times_its_calls_has_to_say_so_of_each():
    timed = load(time_calls=True)
    assert missing_latencies(parse_latencies(BOTH), timed) == []
    assert missing_latencies(parse_latencies(LINE.format("free")), timed) == [
        "no latency of vmap_test alloc"
    ]
    fewer = parse_latencies(BOTH.replace("calls: 40", "calls: 39"))
    assert missing_latencies(fewer, timed) == [
        "latency of vmap_test alloc is of 39 calls, expected 40"
    ]
    assert missing_latencies([], load()) == []


@given(st.text(alphabet="Latency: vmap_test alloc calls: p50 1\n", max_size=200))
def test_no_log_makes_the_parser_fail(text):
    parse_latencies(text)


def test_the_module_says_its_cases_and_parameters_as_test_vmalloc_does():
    module = cases_module()
    assert list(module.cases) == [
        *("vmalloc_test", "vmap_test", "map_only_test"),
        *("ioremap_test", "remote_free_test", "mixed_sizes_test"),
    ]
    assert {"nr_threads", "test_loop_count", "time_calls"} <= set(module.parameters)
    assert load().unknown_cases == ()
