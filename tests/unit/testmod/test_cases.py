"""Whole logs as users have them, each with the right answer beside it (tests/data/logs).

expected.json has for each file: the verdict, the findings' names and severities (each once), for
each run of the module its workers, cases, unit of the totals and what is missing, and the tests of
KTAP. Public reports with names replaced, or lines put together from what kernels print.
"""

import json
from pathlib import Path

import pytest

from harness.targets.outcome import Ending, judge_guest
from harness.testmod.decode import decode_log
from harness.testmod.ktap import parse_ktap
from harness.testmod.log import missing_without_workload, parse_log
from harness.testmod.verdicts import first_crash, scan_console, verdict_of
from harness.verdict import Verdict

LOGS = Path(__file__).parents[2] / "data/logs"
EXPECTED = json.loads((LOGS / "expected.json").read_text())


def answer(data):
    text, remarks = decode_log(data)
    assert remarks == []
    findings = scan_console(text)
    return {
        "verdict": verdict_of(findings).value,
        "findings": sorted({f"{found.severity.value}: {found.name}" for found in findings}),
        "runs": [
            {
                "workers": sorted({item.worker for item in run.summaries}),
                "cases": len(run.cases),
                "units": sorted({total.unit for total in run.totals}),
                "missing": missing_without_workload(run),
            }
            for run in parse_log(text)
        ],
        "ktap": [
            f"{test.status.value}: {test.name}" for top in parse_ktap(text) for test in top.walk()
        ],
    }


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_log_has_the_answer_that_stands_beside_it(name):
    assert answer((LOGS / name).read_bytes()) == EXPECTED[name]


def test_every_log_has_an_answer():
    files = {str(file.relative_to(LOGS)) for file in LOGS.rglob("*") if file.is_file()}
    assert files - {"expected.json"} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_console_crashes_a_guest_where_it_crashes_a_lab_host(name):
    """Guests are judged by their whole console, lab hosts line by line as it comes."""
    text, _ = decode_log((LOGS / name).read_bytes())
    crashed = EXPECTED[name]["verdict"] == Verdict.CRASHED
    assert (judge_guest([], text, Ending.SILENT, 1, 1.0).verdict is Verdict.CRASHED) == crashed
    assert any(first_crash(line) for line in text.split("\n")) == crashed
