"""From the plugin's counts to a case's profile."""

import pytest

from harness.model.calibration import AGES, CpuWork, parse_lock_profile, profile_of_part

SYSTEM_MAP = """\
ffffffff81000000 T alloc_vmap_area
ffffffff81001000 T free_vmap_area_noflush
ffffffff82000000 d free_vmap_area_lock
ffffffff82000040 d nr_vmalloc_pages
"""
AGED = " ".join(["0"] * (AGES - 2) + ["20", "40"])
TEXT = f"""\
part 0 5 5 5
part 1 400000 1000 640
lock ffffffff81000010 ffffffff82000000 100 5000 10 0 7 {AGED}
lock ffffffff81000010 ffffffff82000000 100 7000 10 0 7 {AGED}
lock ffffffff81001008 ffff888000000040 100 3000 0 0 0 {AGED}
lock ffffffff81001008 ffff888000000080 100 3000 0 0 0 {AGED}
lock ffffffff81001020 ffff888000000080 1 10 0 0 0 {AGED}
atomic ffffffff82000040 200
atomic ffffffff82000041 1
"""


@pytest.fixture
def profile():
    _, part = parse_lock_profile(TEXT, SYSTEM_MAP)
    return profile_of_part(part, loops=100)


def test_counts_become_means_of_a_loop(profile):
    assert profile.work == CpuWork(4000.0, 10.0, 6.4)
    assert profile.atomics == {"nr_vmalloc_pages": 2.0}


def test_a_site_sums_its_lines_and_counts_its_locks(profile):
    static, dynamic = sorted(profile.sites, key=lambda site: site.addresses)
    assert (static.caller, static.lock) == ("alloc_vmap_area+0x10", "free_vmap_area_lock+0x0")
    assert (static.visits, static.work.instructions, static.others) == (2.0, 60.0, 0.07)
    assert static.lines[-2:] == (0.2, 0.4)
    assert (dynamic.lock, dynamic.addresses, dynamic.visits) == ("", 2, 2.0)


def test_what_takes_no_time_is_left_out(profile):
    assert "free_vmap_area_noflush+0x20" not in {site.caller for site in profile.sites}


def test_a_text_without_parts_has_none():
    assert list(parse_lock_profile("", SYSTEM_MAP)) == []


@pytest.mark.parametrize(
    ("address", "atomics"),
    [
        (0xFFFFFFFF82000048, {"nr_vmalloc_pages+vmap_lazy_nr": 3.0}),  # 6.12
        (0xFFFFFFFF82000080, {"nr_vmalloc_pages": 2.0, "vmap_lazy_nr": 1.0}),  # as since 7.0
    ],
)
def test_counters_share_a_line_where_they_lie_in_one(address, atomics):
    symbols = f"{SYSTEM_MAP}{address:016x} d vmap_lazy_nr\n"
    _, part = parse_lock_profile(f"{TEXT}atomic {address:x} 100\n", symbols)
    assert profile_of_part(part, loops=100).atomics == atomics


def test_a_zones_lock_is_known_by_its_address_where_its_function_was_inlined():
    """7.3 has rmqueue_buddy() in get_page_from_freelist(), beside the per-CPU list's lock."""
    symbols = "ffffffff81000000 T free_one_page\nffffffff81001000 T get_page_from_freelist\n"
    text = "part 0 5 5 5\n" + "".join(
        f"lock {caller} {lock} 100 7000 10 0 7 {AGED}\n"
        for caller, lock in [
            ("ffffffff8100003b", "ffff888000000040"),
            ("ffffffff8100118b", "ffff888000007000"),
            ("ffffffff810016a7", "ffff888000000040"),
        ]
    )
    (part,) = parse_lock_profile(text, symbols)
    locks = {site.caller: site.lock for site in profile_of_part(part, loops=100).sites}
    assert locks == {
        "free_one_page+0x3b": "zone->lock",
        "get_page_from_freelist+0x18b": "",
        "get_page_from_freelist+0x6a7": "zone->lock",
    }
