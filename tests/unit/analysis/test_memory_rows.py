"""Means and intervals of what boots read of their memory."""

import math

import pytest

from harness.analysis.memory import COLUMNS, UNUSABLE, BootMemory, memory_rows


def boot(kernel, small, large):
    reading = {
        "moment": "after",
        "meminfo_kib": {"PageTables": 60},
        "free_blocks": [small, *[0] * 8, large],
        "free_blocks_by_type": {"Movable": [small]},
        "vmstat": {"compact_stall": 1, "nr_vmalloc": 7},
    }
    return BootMemory("load", 2, 2, kernel, [reading])


def row(rows, kernel, group, what):
    found = rows[(rows["kernel"] == kernel) & (rows["group"] == group) & (rows["what"] == what)]
    assert len(found) == 1
    return found.iloc[0]


def test_the_interval_is_students_over_boots():
    rows = memory_rows([boot("a", 10, 1), boot("a", 12, 1), boot("a", 14, 1), boot("b", 5, 2)])
    smallest = row(rows, "a", "free_pages", "0")
    assert (smallest["mean"], smallest["unit"], smallest["boots"]) == (12, "pages", 3)
    assert smallest["high"] - 12 == pytest.approx(4.302653 * 2 / math.sqrt(3))
    assert 12 - smallest["low"] == pytest.approx(smallest["high"] - 12)
    single = row(rows, "b", "free_pages", "9")
    assert single["mean"] == 2 * 512
    assert math.isnan(single["low"])


def test_fragmentation_is_the_share_in_blocks_below_a_huge_page():
    rows = memory_rows([boot("a", 512, 1), boot("b", 0, 3)])
    assert row(rows, "a", "fragmentation", UNUSABLE)["mean"] == 0.5
    assert row(rows, "b", "fragmentation", UNUSABLE)["mean"] == 0
    assert row(rows, "a", "vmstat", "nr_vmalloc")["unit"] == "pages"
    assert row(rows, "a", "vmstat", "compact_stall")["unit"] == "events"


def test_nothing_read_is_an_empty_table():
    assert list(memory_rows([]).columns) == COLUMNS
    assert memory_rows([BootMemory("load", 2, 2, "a", [{"moment": "before"}])]).empty
