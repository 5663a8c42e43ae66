"""Percentiles over boots, and what timing the calls cost."""

import pandas as pd
import pytest

from harness.analysis.latency import BootLatency, cost_rows, latency_rows
from harness.analysis.times import Metric


def boot(workload, timed, p50, kernel="a", pages=1):
    times = {"p50": p50, "p99": 2 * p50, "p999": 3 * p50, "max": 4 * p50}
    rows = [{"case": "vmap_test", "call": "alloc", "calls": 9, **times}] if timed else []
    parameters = {"nr_pages": pages, "time_calls": timed}
    return BootLatency(workload, 2, 2, kernel, parameters, rows)


def times(workload, values, kernel="a"):
    common = {"workload": workload, "cpus": 2, "nr_threads": 2, "kernel": kernel}
    common |= {"case": "vmap_test", "metric": Metric.MEAN.value}
    return [{**common, "time_us": value} for value in values]


def test_a_percentile_is_the_mean_of_the_boots():
    rows = latency_rows([boot("on", True, p50) for p50 in (100, 110, 120)])
    median = rows[rows["percentile"] == "p50"].iloc[0]
    assert (median["mean"], median["boots"], median["unit"]) == (110, 3, "ns")
    assert median["high"] - 110 == pytest.approx(4.302653 * 10 / 3**0.5)


def test_the_cost_is_held_against_the_boots_that_differ_in_nothing_else():
    boots = [boot("off", False, 0), boot("on", True, 9), boot("more", True, 9, pages=8)]
    found = pd.DataFrame(
        times("off", [1000, 1010, 990]) + times("on", [1100, 1111, 1089]) + times("more", [9, 9])
    )
    (cost,) = cost_rows(boots, found).to_dict("records")
    assert (cost["workload"], cost["without"]) == ("on", "off")
    assert cost["change"] == pytest.approx(0.1, rel=1e-3)
    assert 0 < cost["low"] < 0.1 < cost["high"] < 0.2


def test_without_a_counterpart_nothing_is_said():
    assert cost_rows([boot("on", True, 9)], pd.DataFrame(times("on", [1, 2]))).empty
