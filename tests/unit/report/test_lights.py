"""What the page says of the figures' validity, on a run of made-up figures."""

import contextlib
from dataclasses import replace

import pytest

from harness.report.collect import collect_report
from harness.report.lights import validity_lights
from harness.report.view import View
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    reports = tmp_path_factory.mktemp("reports")
    with contextlib.closing(write_synthetic_run(reports, thread_counts=(4,), repeats=2)) as store:
        return collect_report(store, RUN)


def steady(report, loops, loads=1):
    jobs = [replace(job, loads=[{}] * loads) for job in report.jobs]
    changed = replace(report, samples=report.samples.assign(loops=loops), jobs=jobs)
    (light,) = (each for each in validity_lights(View(changed)) if each.name == "Steady state")
    return light.state, light.text


def test_a_load_that_ends_before_the_first_purge_says_so(report):
    # 4 CPUs: 3 x 8192 pages may be lazily freed, two for each of 4 workers' loops.
    assert steady(report, 3072) == (
        "warn",
        "loads may end before the first purge: the nodes' pools stay empty",
    )
    state, words = steady(report, 4 * 3072)
    assert state == "warn"
    assert words.startswith("up to 25% of the loops")


def test_a_long_load_is_steady(report):
    assert steady(report, 100 * 3072) == ("ok", "the first purge comes early in the loops")
    assert steady(report, 100 * 3072, loads=2)[1].endswith("after a load that was discarded")
