"""The rules for several CPUs: silent on a right allocator, loud on a wrong one."""

import random
from dataclasses import replace

import pytest

from harness.model.allocator import Allocator
from harness.model.node_rules import NodeRules
from harness.model.suspects import SUSPECTS
from harness.model.trace import Allocated, Freed, Purged, WorkStarted
from tests.kernel_traces import RULES, workload

SPARING = replace(RULES, spares_small_pools=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cpus", [1, 2, 8])
@pytest.mark.parametrize("design", [RULES, SPARING])
def test_a_right_allocator_breaks_no_rule(design, cpus, seed):
    rules = NodeRules(design)
    assert rules.run(workload(Allocator(design), seed, cpus=cpus)) == []
    assert rules.checked > 3000


def with_late_frees(events, chance):
    """Return the trace of CPUs that are stopped between a free and its report, past a purge."""
    events = list(events)
    pids = {event.where.pid for event in events}
    for number in range(sum(isinstance(event, Purged) for event in events)):
        for pid in sorted(pids):
            purges = [index for index, event in enumerate(events) if isinstance(event, Purged)]
            purged = purges[number]
            own = [index for index, event in enumerate(events) if event.where.pid == pid]
            earlier = [index for index in own if index < purged]
            later = [index for index in own if index > purged] or [len(events)]
            if earlier and isinstance(events[earlier[-1]], Freed):
                events.insert(chance.randrange(purged + 1, later[0] + 1), events[earlier[-1]])
                del events[earlier[-1]]
    return events


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cpus", [2, 8])
@pytest.mark.parametrize("design", [RULES, SPARING])
def test_frees_that_are_reported_after_their_purge_break_no_rule(design, cpus, seed):
    events = workload(Allocator(design), seed, cpus=cpus)
    late = with_late_frees(events, random.Random(seed))
    assert late != events
    assert [violation.what for violation in NodeRules(design).run(late)] == []


def test_a_late_free_excuses_one_use_only():
    events = workload(Allocator(RULES))
    purged = first(events, Purged)
    freed = [event for event in events[purged:] if isinstance(event, Freed)][:2]
    again = [
        next(e for e in events if isinstance(e, Allocated) and e.address == free.address)
        for free in freed
    ]
    (violation,) = NodeRules(RULES).run([*again, events[purged], *freed, *again])
    assert violation.index == 6
    assert "no purge has run" in violation.what


def test_a_single_node_breaks_no_rule():
    single = replace(RULES, nodes=1)
    assert NodeRules(single).run(workload(Allocator(single), cpus=4)) == []


@pytest.mark.parametrize(
    ("suspect", "complaint"),
    [
        ("ignored alignment", "is not aligned"),
        ("wrong node on free: one too far", "from which fewer areas decayed"),
        ("wrong node on free: the address's instead of the allocating one", "fewer areas decayed"),
    ],
)
def test_a_wrong_allocator_is_caught(suspect, complaint):
    violations = NodeRules(RULES).run(workload(SUSPECTS[suspect](RULES), cpus=4))
    assert any(complaint in violation.what for violation in violations)


def test_small_pools_that_decay_where_they_are_spared_are_caught():
    """The decay of 6.12 in a later kernel."""
    events = workload(Allocator(RULES), cpus=4)
    assert NodeRules(RULES).run(events) == []
    assert "from which fewer areas decayed" in NodeRules(SPARING).run(events)[0].what


def tampered(change):
    """Return the first complaint about a right trace after `change(events)`."""
    events = workload(Allocator(RULES))
    change(events)
    return NodeRules(RULES).run(events)[0].what


def first(events, kind):
    return next(index for index, event in enumerate(events) if isinstance(event, kind))


def test_busy_space_given_out_again_is_caught():
    def repeat(events):
        events.insert(first(events, Allocated) + 1, events[first(events, Allocated)])

    assert "overlaps the busy area" in tampered(repeat)


def test_lazy_space_given_out_before_a_purge_is_caught():
    def reuse(events):
        index = first(events, Freed)
        events.insert(
            index + 1,
            next(
                e for e in events if isinstance(e, Allocated) and e.address == events[index].address
            ),
        )

    assert "no purge has run" in tampered(reuse)


def test_a_purge_of_which_only_the_end_is_seen_explains_a_use_before_it():
    events = workload(Allocator(RULES))
    freed = events[first(events, Freed)]
    again = next(e for e in events if isinstance(e, Allocated) and e.address == freed.address)
    purged = events[first(events, Purged)]
    started = WorkStarted(purged.where, "drain_vmap_area_work")
    used = [again, freed, again]
    assert NodeRules(RULES).run([*used, purged]) == []
    for unexplained in (used, [*used, started, purged]):
        (violation,) = NodeRules(RULES).run(unexplained)
        assert violation.index == 2
        assert "no purge has run" in violation.what


def test_a_double_free_is_caught():
    def repeat(events):
        events.insert(first(events, Freed) + 1, events[first(events, Freed)])

    assert "is not busy" in tampered(repeat)


def test_a_purge_that_leaves_areas_behind_is_caught():
    def shorten(events):
        index = first(events, Purged)
        events[index] = events[index]._replace(areas=events[index].areas - 1)

    assert "were lazy before it" in tampered(shorten)
