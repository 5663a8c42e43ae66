"""The trace parser: real lines of 6.12 and of 6.1, and anything else."""

from hypothesis import given
from hypothesis import strategies as st

from harness.model.trace import (
    Allocated,
    ChunkCreated,
    Freed,
    Marked,
    Purged,
    Reclaimed,
    Where,
    WorkStarted,
    parse_trace,
    parse_vmallocinfo,
)

REAL = """\
# tracer: nop
#
# entries-in-buffer/entries-written: 7/9   #P:1
#
#                                _-----=> irqs-off/BH-disabled
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
#              | |         |   |||||     |         |
          <idle>-0       [000] d....     0.000000: purge_vmap_area_lazy: start=0xffffffffffffffff end=0x0 num_purged=0
          <idle>-0       [000] .....     0.000000: alloc_vmap_area: va_start: 18446683600570023936 size=8192 align=4096 vstart=0xffffc90000000000 vend=0xffffe8ffffffffff failed=0
     kworker/0:0-8       [000] .N...     0.405744: workqueue_execute_start: work struct ffffffff818ac5b0: function drain_vmap_area_work
     vmalloc_test/0-57    [001] .....     1.500000: free_vmap_area_noflush: va_start=0xffffc90000000000 nr_lazy=2 nr_lazy_max=8192
            init-1       [000] .....     1.600000: tracing_mark_write: fix_size
            init-1       [000] .....     1.700000: reclaim_vmap_area: start=0x1000 end=0x3000
            init-1       [000] .....     1.800000: percpu_create_chunk: base_addr=ffffe8ffffc00000
"""  # noqa: E501  # lines as the kernel prints them


def test_real_lines():
    trace = parse_trace(REAL.splitlines())
    assert trace.lost == 2
    assert trace.unread == []
    start, end = 0xFFFFC90000000000, 0xFFFFE8FFFFFFFFFF
    assert trace.events == [
        Purged(Where(8, 0, 0, 0.0), 2**64 - 1, 0, 0),
        Allocated(Where(9, 0, 0, 0.0), start, 8192, 4096, start, end, False),
        WorkStarted(Where(10, 0, 8, 0.405744), "drain_vmap_area_work"),
        Freed(Where(11, 1, 57, 1.5), start, 2, 8192),
        Marked(Where(12, 0, 1, 1.6), "fix_size"),
        Reclaimed(Where(13, 0, 1, 1.7), 0x1000, 0x3000),
        ChunkCreated(Where(14, 0, 1, 1.8), 0xFFFFE8FFFFC00000),
    ]


def test_lost_events_are_counted():
    assert parse_trace(["CPU:0 [LOST 123 EVENTS]"]).lost == 123


def test_what_cannot_be_read_is_quoted_with_its_line():
    trace = parse_trace(["", "garbage", "init-1 [000] ..... 1.0: alloc_vmap_area: what?"])
    assert trace.unread == [
        "2: garbage",
        "3: init-1 [000] ..... 1.0: alloc_vmap_area: what?",
    ]


@given(st.lists(st.one_of(st.text(), st.sampled_from(REAL.splitlines()))))
def test_never_raises(lines):
    trace = parse_trace(lines)
    assert len(trace.events) + len(trace.unread) <= len(lines)


@given(st.sampled_from(REAL.splitlines()), st.data())
def test_a_cut_line_is_no_error(line, data):
    parse_trace([line[: data.draw(st.integers(0, len(line)))]])


def test_vmallocinfo():
    text = """\
0xffffc90000000000-0xffffc90000002000    8192 acpi_os_map_iomem+0x1fa/0x270 phys=0x3ffe2000 ioremap
0xffffc90000003000-0xffffc90000005000    8192 unpurged vm_area
no line of ours
"""
    assert [
        (area.start, area.end, area.unpurged) for area in parse_vmallocinfo(text.splitlines())
    ] == [
        (0xFFFFC90000000000, 0xFFFFC90000002000, False),
        (0xFFFFC90000003000, 0xFFFFC90000005000, True),
    ]
