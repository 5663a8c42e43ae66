import pytest

from harness.verdict import Verdict, worst


def test_worst_of_nothing_is_missing():
    assert worst([]) is Verdict.MISSING


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([Verdict.PASSED, Verdict.PASSED], Verdict.PASSED),
        ([Verdict.PASSED, Verdict.CRASHED, Verdict.NOISY], Verdict.CRASHED),
        ([Verdict.INCOMPLETE, Verdict.TEST_FAILED], Verdict.INCOMPLETE),
    ],
)
def test_worst_wins(verdicts, expected):
    assert worst(verdicts) is expected


def test_only_these_leave_a_run_well():
    assert [v for v in Verdict if not v.bad] == [Verdict.PASSED, Verdict.SKIPPED, Verdict.NOISY]
