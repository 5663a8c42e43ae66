"""The history of runs as the store keeps them, through to the change points."""

from harness.analysis.changepoints import HISTORY, Direction, Kind, find_changes, follow
from harness.store.history import host_label, load_history
from harness.verdict import Verdict
from tests.synthetic_history import keep_night


def test_a_boot_has_the_mean_over_its_workers_and_the_time_of_its_load(store):
    keep_night(store, 2, 20_000)
    history = load_history(store)
    assert list(history.columns) == list(HISTORY)
    case = history[history["case"] == "fix_size_alloc_test"]
    # night 2: 14 % 5 - 2 = 2 and 15 % 5 - 2 = -2 thousandths, and half of 10 us for the 2nd worker
    assert sorted(case["time_us"]) == [19_965.0, 20_045.0]
    load = history[history["case"] == "whole load"]
    assert sorted(load["time_us"]) == [99_800.0, 100_200.0]
    assert set(history["line"]) == {"6.12"}
    assert set(history["toolchain"]) == {"gcc 12, QEMU 10.0.2"}


def test_a_store_without_runs_has_an_empty_history(store):
    assert load_history(store).empty
    assert find_changes(load_history(store)) == []


def test_boots_that_did_not_pass_are_no_history(store):
    keep_night(store, 1, 20_000, verdict=Verdict.CRASHED)
    assert load_history(store).empty


def test_a_slow_down_is_dated_to_its_night_and_told_once(store):
    for night in range(110):
        keep_night(store, night, 20_000 if night < 100 else 21_000)
    by_case = {change.series.case: change for change in find_changes(load_history(store))}
    assert set(by_case) == {"fix_size_alloc_test", "whole load"}
    for change in by_case.values():
        assert change.at_run == "2026-night-100"
        assert "2026-night-104" <= change.found_run <= "2026-night-109"
        assert change.direction is Direction.SLOWER
        assert change.low_percent < 5.0 < change.high_percent


def test_another_compiler_workload_or_host_is_shown_and_no_alarm(store):
    for night in range(40):
        keep_night(
            store,
            night,
            20_000 + 2_000 * (night // 10),
            compiler="gcc 12" if night < 10 else "gcc 14",
            loops=1000 if night < 20 else 2000,
            cpu="CPU" if night < 30 else "another CPU",
        )
    history = load_history(store)
    assert find_changes(history) == []
    tracks = [track for track in follow(history) if track.series.case == "whole load"]
    assert sorted(len(track.runs) for track in tracks) == [10, 30]
    shown = {(remark.run_id, remark.kind) for track in tracks for remark in track.remarks}
    assert shown == {("2026-night-010", Kind.TOOLCHAIN), ("2026-night-020", Kind.WORK)}


def test_a_lab_host_is_its_own_machine_whoever_drives_it():
    machine = {"kind": "ssh", "host": "epyc-1", "host_cpus": 128, "known_good": "6.1"}
    words = host_label({"id": "a laptop"}, machine)
    assert words[0] == "epyc-1"
    assert words == host_label({"id": "another laptop"}, machine | {"known_good": "6.12"})
    assert words != host_label({"id": "a laptop"}, machine | {"host_cpus": 64})


def test_only_the_newest_runs_are_followed(store):
    for night in range(5):
        keep_night(store, night, 20_000)
    newest = load_history(store, runs=2)
    assert set(newest["run_id"]) == {"2026-night-003", "2026-night-004"}
