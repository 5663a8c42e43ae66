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
