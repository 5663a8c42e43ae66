"""What windows of detail say of a whole load, on windows that were made up."""

import numpy as np
import pytest

from harness.errors import InputError
from harness.targets.simulated.profile import Window, parse_windows
from harness.targets.simulated.sampling import (
    LEAST_WINDOWS,
    CallSite,
    WindowWatch,
    estimate,
    find_sites,
    first_steady,
    steady_windows,
)

LONG = "long_busy_list_alloc_test"
SITES = (
    CallSite(0x10),  # between cases
    CallSite(0x20, LONG, "prepare"),
    CallSite(0x30, LONG, "loop"),
    CallSite(0x40, LONG, "end"),
)
LOOPS, CPUS, MASK = 1000, 4, 4
WINDOW_NS = 2_000_000


def window(*sites: tuple[int, int]) -> Window:
    return Window(0, (), (), (), ((0, 0), *sites))


def preparing(turn_ns: int) -> Window:
    """Four workers of which two prepare, and two are in a loop of 10 us."""
    calls = 2 * WINDOW_NS // turn_ns
    return window((calls, 2 * WINDOW_NS), (400, 2 * WINDOW_NS), (0, 0))


def looping(turn_ns: float) -> Window:
    return window((0, 0), (round(4 * WINDOW_NS / turn_ns), 4 * WINDOW_NS), (0, 0))


def judge(windows):
    return estimate(windows, SITES, LOOPS, CPUS, MASK)


def test_a_turn_takes_all_time_at_it_by_all_turns():
    found = judge([preparing(1000), looping(20_000), looping(10_000)])
    assert found.turn_ns[LONG, "prepare"] == pytest.approx(1000)
    # 8 ms of time at the loop for 400 turns, and 8 ms for 800
    assert found.turn_ns[LONG, "loop"] == pytest.approx(16e6 / 1200)
    assert found.worker_s == pytest.approx((15_000 * 1000 + LOOPS * 16e6 / 1200) / 1e9)


def test_loops_beside_which_others_prepare_do_not_count_where_there_are_others():
    busy, quiet = preparing(1000), looping(20_000)
    assert steady_windows([busy, quiet], SITES) == [quiet]
    assert steady_windows([busy], SITES) == [busy]
    assert judge([busy, quiet, quiet]).turn_ns[LONG, "loop"] == pytest.approx(20_000)


def test_a_case_that_is_not_in_the_load_does_not_count():
    assert estimate([looping(10_000)], SITES, LOOPS, CPUS, mask=1).worker_s == 0


def test_a_loop_that_no_window_shows_is_said_to_be_unseen():
    found = judge([looping(10_000)] * LEAST_WINDOWS)
    assert found.unseen == ((LONG, "prepare"), (LONG, "end"))
    assert not found.steady(1.0)  # it never prepared, so it is not known what that takes


def test_equal_windows_have_no_interval():
    assert judge([preparing(1000), *[looping(10_000)] * 5]).half_s == 0


def test_the_interval_holds_the_truth_in_95_of_100_runs():
    """Windows whose turns vary by a fifth from window to window, each independent of the last."""
    random, truth_ns, held = np.random.default_rng(1), 10_000, 0
    for _ in range(1000):
        turns = random.normal(4 * WINDOW_NS / truth_ns, 4 * WINDOW_NS / truth_ns / 5, 20)
        windows = [window((0, 0), (round(n), 4 * WINDOW_NS), (0, 0)) for n in turns]
        found = judge(windows)
        held += abs(found.worker_s - LOOPS * truth_ns / 1e9) <= found.half_s
    assert 920 <= held <= 980


def test_windows_that_resemble_their_neighbours_say_less():
    random = np.random.default_rng(1)
    noise = random.normal(0, 1000, 40)
    alike = np.convolve(noise, np.ones(8) / 8**0.5, mode="valid")
    mixed = random.permutation(alike)
    halves = [judge([looping(10_000 + t) for t in turns]).half_s for turns in (alike, mixed)]
    assert halves[0] > 1.5 * halves[1]


def test_a_load_that_still_changes_is_not_steady():
    start = [preparing(1000)]
    flat = judge([*start, *[looping(10_000 + 100 * (i % 2)) for i in range(40)]])
    rising = judge([*start, *[looping(10_000 + 100 * i) for i in range(40)]])
    assert flat.steady(0.05)
    assert not rising.steady(0.05)


def test_what_counts_are_the_fewest_windows_that_are_steady():
    random = np.random.default_rng(2)
    loops = [looping(turn) for turn in random.normal(10_000, 1500, 60)]
    windows = [preparing(1000), *loops]
    found = first_steady(windows, judge, 0.05)
    assert found is not None
    assert LEAST_WINDOWS <= found.windows < 60
    assert first_steady(windows[: found.windows + 1], judge, 0.05) == found
    assert first_steady(windows[: found.windows], judge, 0.05) is None
    assert first_steady(windows, judge, 0.0001) is None


def text_of(windows):
    rows = []
    for index, one in enumerate(windows):
        rows += [f"window {index * 1000} 7", "s ffffffff81001000 0 0 0 5"]
        rows += [f"c {place} {calls} {ns}" for place, (calls, ns) in enumerate(one.sites)]
        rows += ["end"]
    return "\n".join(rows) + "\n"


def test_the_plugins_file_tells_of_calls_and_times():
    windows = [preparing(1000), looping(10_000)]
    assert [w.sites for w in parse_windows(text_of(windows))] == [w.sites for w in windows]


def test_a_boot_under_way_is_steady_as_soon_as_its_windows_are(tmp_path):
    watch = WindowWatch(tmp_path, judge, 0.05)
    assert not watch.enough()  # no file yet
    windows = [preparing(1000)] + [looping(10_000 + 100 * (i % 2)) for i in range(LEAST_WINDOWS)]
    path = tmp_path / "windows.txt"
    path.write_text(text_of(windows[:-1]))
    assert not watch.enough()
    for cut in (2, 20, 60, 80):  # the last one is being written
        path.write_text(text_of(windows)[:-cut])
        assert not watch.enough()
    path.write_text(text_of(windows))
    assert watch.enough()


def test_a_boot_under_way_has_shown_enough_when_its_time_is_up(tmp_path):
    assert WindowWatch(tmp_path, judge, 0.05, within_s=1e-9).enough()
    assert not WindowWatch(tmp_path, judge, 0.05, within_s=600).enough()


def test_a_file_that_is_no_module_is_refused():
    with pytest.raises(InputError, match="loops of test_vmalloc.ko were not found"):
        find_sites(b"\x7fELF")
