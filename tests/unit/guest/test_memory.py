"""What a guest's files say of its memory, and that nothing else is taken from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.guest.memory import FILES, add_file, parse_buddyinfo, parse_pagetypeinfo, parse_vmstat

BUDDYINFO = """\
Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
Node 0, zone   Normal   5455   1139    312    624   1230    439    187     35      0      0      7
"""
PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2
Node    0, zone      DMA, type    Unmovable      0      0      1
Node    0, zone      DMA, type      Movable      0      2      3
Node    0, zone   Normal, type    Unmovable    347    104 >100000

Number of blocks type     Unmovable      Movable\x20
Node 0, zone      DMA            1            7\x20
Node 0, zone   Normal           64         1040\x20
"""
VMSTAT = (
    "nr_free_pages 16391\nnr_vmalloc 12\ncompact_stall 3\npgmigrate_success 5\nallocstall_dma 0\n"
)


def test_free_blocks_are_summed_over_zones():
    assert parse_buddyinfo(BUDDYINFO) == [5455, 1139, 312, 624, 1230, 439, 187, 35, 1, 1, 10]


def test_free_blocks_by_type_and_page_blocks():
    assert parse_pagetypeinfo(PAGETYPEINFO) == {
        "free_blocks_by_type": {"Unmovable": [347, 104, 100001], "Movable": [0, 2, 3]},
        "pageblocks": {"Unmovable": 65, "Movable": 1047},
        "pageblock_order": 9,
    }


def test_only_the_counters_of_memory_are_kept():
    assert parse_vmstat(VMSTAT) == {
        "nr_vmalloc": 12,
        "compact_stall": 3,
        "pgmigrate_success": 5,
        "allocstall_dma": 0,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "Node 0, zone   Normal   1   -2\n",
        "Node 0, zone   Normal   1   2\nNode 1, zone   Normal   1\n",
        "Node 0, zone   Normal   " + "9" * 16,
        "Node 0, zone   Normal" + "   1" * 40,
    ],
)
def test_a_list_of_free_blocks_that_no_kernel_prints_is_refused(text):
    with pytest.raises(InputError):
        parse_buddyinfo(text)


@pytest.mark.parametrize(
    "text",
    [
        PAGETYPEINFO.replace("           64         1040", "           64"),
        PAGETYPEINFO.replace("Movable      0      2      3", "Movable      0      2"),
        PAGETYPEINFO + "<script>\n",
    ],
)
def test_a_list_of_page_types_that_no_kernel_prints_is_refused(text):
    with pytest.raises(InputError):
        parse_pagetypeinfo(text)


@given(path=st.sampled_from(sorted(FILES)), text=st.text(max_size=300))
def test_whatever_a_file_holds_it_is_read_or_said_to_be_unreadable(path, text):
    reading = {}
    if add_file(reading, path, text):
        assert reading == {}
