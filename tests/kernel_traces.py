"""Random workloads on a model, traced as a kernel would trace them."""

import random

from harness.model.allocator import Rules
from harness.model.free_space import PAGE_SIZE
from harness.model.trace import Allocated, Freed, Purged, Where, WorkStarted

RULES = Rules(nodes=4, lazy_max_pages=2000)


def workload(allocator, seed=1, operations=3000, cpus=1):
    """Return the events of a random workload as a kernel would trace them."""
    chance = random.Random(seed)
    events, busy = [], []
    window = (RULES.vmalloc_start, RULES.vmalloc_end)
    for _ in range(operations):
        cpu = chance.randrange(cpus)
        where = Where(0, cpu, 1 + cpu, 0.0)
        if busy and chance.random() < 0.5:
            address = busy.pop(chance.randrange(len(busy)))
            allocator.free(address)
            events.append(Freed(where, address, allocator.lazy_pages, RULES.lazy_max_pages))
        else:
            pages = chance.choice([2, 2, 3, 5, 11, 255, 256, 257])
            alignment = chance.choice([1, 1, 1, PAGE_SIZE, 4 * PAGE_SIZE, 64 * PAGE_SIZE])
            area = allocator.allocate(pages * PAGE_SIZE, alignment, cpu, *window)
            busy.append(area.start)
            events.append(
                Allocated(where, area.start, pages * PAGE_SIZE, alignment, *window, False)
            )
        if allocator.purge_due:
            events.append(WorkStarted(where, "drain_vmap_area_work"))
            purge = allocator.purge()
            events.append(Purged(where, purge.start, purge.end, purge.purged_areas))
    return events


def render_trace(events):
    """Return `events` as the kernel's trace file would show them."""
    lines = [f"# entries-in-buffer/entries-written: {len(events)}/{len(events)}   #P:1"]
    for event in events:
        where, name = event.where, type(event).__name__
        match event:
            case Allocated():
                text = (
                    f"alloc_vmap_area: va_start: {event.address} size={event.size} "
                    f"align={event.alignment} vstart={event.start:#x} vend={event.end:#x} "
                    f"failed={int(event.failed)}"
                )
            case Freed():
                text = (
                    f"free_vmap_area_noflush: va_start={event.address:#x} "
                    f"nr_lazy={event.lazy_pages} nr_lazy_max={event.lazy_max_pages}"
                )
            case Purged():
                text = (
                    f"purge_vmap_area_lazy: start={event.start:#x} end={event.end:#x} "
                    f"num_purged={event.areas}"
                )
            case WorkStarted():
                text = f"workqueue_execute_start: work struct 00000000: function {event.function}"
            case _:
                raise AssertionError(name)
        task = f"test-{where.pid}"
        lines.append(f"{task:>20}    [{where.cpu:03}] ..... {where.time_s:.6f}: {text}")
    return "\n".join(lines) + "\n"
