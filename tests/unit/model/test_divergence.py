"""What a reader gets when a kernel does otherwise."""

from dataclasses import replace

from harness.model.allocator import Allocator
from harness.model.divergence import describe_divergence
from harness.model.replay import Replay
from harness.model.trace import Allocated, Freed, Purged, parse_trace
from tests.kernel_traces import RULES, render_trace, workload


def test_the_parser_reads_what_a_kernel_would_print():
    events = workload(Allocator(RULES), cpus=4)
    parsed = parse_trace(render_trace(events).splitlines())
    assert parsed.unread == []
    assert [e._replace(where=None) for e in parsed.events] == [
        e._replace(where=None) for e in events
    ]


def test_the_first_wrong_address_is_shown_with_its_surroundings():
    events = workload(Allocator(RULES))
    index = next(i for i, e in enumerate(events) if i > 1000 and isinstance(e, Allocated))
    wrong = events[index].address + 2**30
    events[index] = events[index]._replace(address=wrong)
    result = Replay(Allocator(RULES)).run(events)
    text = describe_divergence(result, events)
    assert result.divergence.index == index
    assert f"event {index + 1} of {len(events)}" in text
    assert hex(wrong) in text
    assert hex(wrong - 2**30) in text
    assert "address of an allocation" in text
    assert "lazy:" in text


def changed(kind, **fields):
    """Return what the replay says when the first event of `kind` reports something else."""
    events = workload(Allocator(RULES))
    index = next(i for i, e in enumerate(events) if isinstance(e, kind))
    events[index] = events[index]._replace(**fields)
    return Replay(Allocator(RULES)).run(events).divergence.what


def test_every_field_of_every_event_is_held():
    assert changed(Allocated, failed=True) == "outcome of an allocation"
    assert changed(Freed, address=1) == "free"
    assert changed(Freed, lazy_pages=1) == "lazy pages after a free"
    assert changed(Freed, lazy_max_pages=1) == "limit of lazy pages"
    assert changed(Purged, areas=1) == "number of purged areas"
    assert changed(Purged, end=1) == "range of a purge"


def test_other_rules_diverge():
    events = workload(Allocator(RULES))
    assert not Replay(Allocator(replace(RULES, nodes=1))).run(events).exact
