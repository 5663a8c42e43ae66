"""Describes the first event that the model did not predict, with the state near it. Pure."""

from collections.abc import Iterator, Sequence

from harness.model.allocator import Allocator
from harness.model.replay import ReplayResult
from harness.model.trace import Allocated, Event, Freed

_AROUND = 4  # number of events before it, and of areas on each side


def describe_divergence(result: ReplayResult, events: Sequence[Event]) -> str:
    """Return a text with the difference, the events before it and the model's state near it.

    `result` must have a divergence. The state is that after the model processed the event.
    """
    divergence = result.divergence
    assert divergence is not None
    event, where = divergence.event, divergence.event.where
    place = f"line {where.line}, {where.time_s:.6f} s, CPU {where.cpu}"
    lines = [
        f"event {divergence.index + 1} of {len(events)} ({place}): {divergence.what}",
        f"  the model expects {divergence.expected}, the kernel did {divergence.found}",
        "  preceding events, and this one:",
    ]
    before = events[max(0, divergence.index - _AROUND) : divergence.index + 1]
    lines += [f"    {render_event(each)}" for each in before]
    lines += [f"  {line}" for line in describe_state(result.allocator, event)]
    return "\n".join(lines)


def describe_state(allocator: Allocator, event: Event) -> Iterator[str]:
    """Yield lines with the areas near the event's address, and the pool that would serve it."""
    yield f"lazy: {allocator.lazy_pages} of {allocator.rules.lazy_max_pages} pages"
    if isinstance(event, Allocated | Freed):
        yield f"around {event.address:#x}:"
        yield from (f"  {line}" for line in _neighbours(allocator, event.address))
    if isinstance(event, Allocated):
        pages = event.size // allocator.rules.page_size
        for node in allocator.nodes:
            if pool := node.pools.get(pages):
                shown = ", ".join(f"{area.start:#x}" for area in list(pool)[:_AROUND])
                yield f"pool of {pages} pages of node {node.index}: {len(pool)} areas: {shown}"


def render_event(event: Event) -> str:
    """Return an event in one line: its kind, then name=value; addresses in hexadecimal."""
    parts = [type(event).__name__.lower()]
    for name, value in event._asdict().items():
        if name != "where":
            shown = hex(value) if name in ("address", "start", "end", "base") else value
            parts.append(f"{name}={shown}")
    return " ".join(parts)


def _neighbours(allocator: Allocator, address: int) -> list[str]:
    areas = [(area.start, area.end, "free") for area in allocator.space]
    areas += [
        (area.start, area.end, f"{state}, {_owner(area.node)}") for state, area in allocator.areas()
    ]
    areas.sort()
    at = sum(end <= address for _, end, _ in areas)
    near = areas[max(0, at - _AROUND) : at + _AROUND + 1]
    return [f"[{start:#x}, {end:#x}) {state}" for start, end, state in near]


def _owner(node: int | None) -> str:
    return "no node" if node is None else f"node {node}"
