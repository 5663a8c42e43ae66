"""Shows where the suite's time goes in CPU seconds, which other programs hardly change.

Counted are the tests' own process and every program that they started and waited for.
"""

import os
from collections import Counter

import pytest

_SHOWN = 25
_since = 0.0


def _spent() -> float:
    return sum(os.times()[:4])


def pytest_runtest_logstart() -> None:
    global _since  # noqa: PLW0603  one process runs one test at a time
    _since = _spent()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    global _since
    report = yield
    report.cpu_s, _since = _spent() - _since, _spent()
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    tests, files = Counter(), Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if cpu_s := getattr(report, "cpu_s", 0):
                tests[f"{report.when:8} {report.nodeid}"] += cpu_s
                files[report.nodeid.partition("::")[0]] += cpu_s
    if files.total() < 100:  # nobody asks where a short run's time went
        return
    terminalreporter.section(f"{files.total():.0f} CPU seconds, user and system")
    for spent in (files, tests):
        for name, cpu_s in spent.most_common(_SHOWN):
            terminalreporter.write_line(f"{cpu_s:8.1f}  {name}")
        terminalreporter.write_line("")
