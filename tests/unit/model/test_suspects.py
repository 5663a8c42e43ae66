"""A trace that an allocator with a defect writes must name that defect."""

import pytest

from harness.model.allocator import Allocator
from harness.model.replay import Replay
from harness.model.suspects import SUSPECTS, explain
from harness.model.trace import Allocated
from tests.kernel_traces import RULES, workload


def test_the_specification_predicts_itself():
    events = workload(Allocator(RULES))
    result = Replay(Allocator(RULES)).run(events)
    assert result.exact
    assert sum(result.predicted.values()) == sum(isinstance(e, Allocated) for e in events)
    assert explain(events, RULES) == []


@pytest.mark.parametrize("name", SUSPECTS)
def test_a_defect_is_named(name):
    events = workload(SUSPECTS[name](RULES))
    assert not Replay(Allocator(RULES)).run(events).exact
    best = [found.name for found in explain(events, RULES) if found.complete]
    assert name in best
    # Where two names fit, they are two forms of one defect.
    assert len({found.split(":")[0].split(" in the ")[0] for found in best}) == 1
