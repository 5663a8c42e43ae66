"""A candidate has to be correct before it is measured; the gate's boots are made up."""

from pathlib import Path

from harness.nightly.state import load_state
from harness.run.gate import BY_CHECK, GateRow
from harness.verdict import Verdict
from tests.flow.workplace import BRANCH


class MadeUpGate:
    """Finds a race in the kernels of the first `bad` calls."""

    def __init__(self, bad):
        self.bad, self.asked = bad, []

    def __call__(self, spec, checks, *_):
        self.asked.append((spec.name, [check.name for check in checks]))
        race = len(self.asked) <= self.bad
        verdict, reason = (Verdict.SPLAT, "reported: KCSAN") if race else (Verdict.PASSED, "")
        return [GateRow(BY_CHECK["races"], verdict, reason, (), Path())]


def night(workplace, gate):
    run = workplace.night(workplace.file(BRANCH, gate=["races"]))
    run.gate = gate
    return run.run()


def test_what_is_not_correct_is_reported_once_and_not_measured(workplace):
    gate = MadeUpGate(bad=1)
    workplace.commit(2)
    outcome = night(workplace, gate)
    assert (outcome.exit_code, workplace.boots) == (1, [])
    assert gate.asked == [("topic", ["races"])]
    assert "races: reported: KCSAN" in workplace.sent[0][0].text
    workplace.next_night()
    assert (night(workplace, gate).exit_code, len(workplace.sent)) == (0, 1)
    assert len(gate.asked) == 1, "what is in a kernel has not changed"
    workplace.next_night()
    workplace.commit(3)
    assert "1 of 1 measured" in night(workplace, gate).summary
    assert sorted(workplace.boots) == ["base"] * 3 + ["topic"] * 3


def test_one_that_passed_is_not_tried_again(workplace):
    gate = MadeUpGate(bad=0)
    night(workplace, gate)
    workplace.next_night()
    night(workplace, gate)
    assert len(gate.asked) == 1
    kept = load_state(workplace.reports / "nightly/tonight/state.json").gates
    assert list(kept.values()) == [""]
