"""A trace that an allocator with a defect writes must name that defect."""

import random

import pytest

from harness.model.allocator import Allocator, Rules
from harness.model.free_space import PAGE_SIZE
from harness.model.replay import Replay
from harness.model.suspects import SUSPECTS, explain
from harness.model.trace import Allocated, Freed, Purged, Where

RULES = Rules(nodes=4, lazy_max_pages=2000)


def workload(allocator, seed=1, operations=3000):
    """Return the events of a random workload on one CPU, as a kernel would trace them."""
    chance = random.Random(seed)
    where = Where(0, 0, 1, 0.0)
    events, busy = [], []
    window = (RULES.vmalloc_start, RULES.vmalloc_end)
    for _ in range(operations):
        if busy and chance.random() < 0.5:
            address = busy.pop(chance.randrange(len(busy)))
            allocator.free(address)
            events.append(Freed(where, address, allocator.lazy_pages, RULES.lazy_max_pages))
        else:
            pages = chance.choice([2, 2, 3, 5, 11, 255, 256, 257])
            alignment = chance.choice([1, 1, 1, PAGE_SIZE, 4 * PAGE_SIZE, 64 * PAGE_SIZE])
            area = allocator.allocate(pages * PAGE_SIZE, alignment, 0, *window)
            busy.append(area.start)
            events.append(
                Allocated(where, area.start, pages * PAGE_SIZE, alignment, *window, False)
            )
        if allocator.purge_due:
            purge = allocator.purge()
            events.append(Purged(where, purge.start, purge.end, purge.purged_areas))
    return events


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
