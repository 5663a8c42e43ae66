"""From boots to changes: nights, series of their own, and what is shown without an alarm."""

import numpy as np
import pandas as pd
import pytest

from harness.analysis.changepoints import HISTORY, Direction, Kind, find_changes, follow
from harness.errors import InputError


def history(nights=50, seed=1, step_at=30, step=0.06, boots=3, **fixed):
    """Return made-up boots of one series; `fixed`: a column's value, or one from the night."""
    rng = np.random.default_rng(seed)
    rows = []
    for night in range(nights):
        started_at = (pd.Timestamp("2026-01-01T02:00:00Z") + pd.Timedelta(days=night)).isoformat()
        row = {
            "host": "host", "line": "6.12", "workload": "quick", "cpus": 2, "nr_threads": 2,
            "case": "fix_size_alloc_test", "run_id": f"run-{night:03}", "started_at": started_at,
            "toolchain": "gcc 12", "work": "a", "machine": "0a1b", "baseline": "",
            "baseline_source": "", "baseline_us": np.nan,
        }  # fmt: skip
        row |= {name: value(night) if callable(value) else value for name, value in fixed.items()}
        level = 20_000 * (1 + step * (night >= step_at))
        rows += [row | {"time_us": level * np.exp(rng.normal(0, 0.015))} for _ in range(boots)]
    return pd.DataFrame(rows, columns=list(HISTORY))


def test_a_change_names_its_runs_and_says_how_large():
    (change,) = find_changes(history(nights=115, step_at=100))
    assert (change.at_run, change.direction) == ("run-100", Direction.SLOWER)
    assert change.at == "2026-04-11T02:00:00+00:00"
    assert "run-104" <= change.found_run <= "run-110"
    assert change.low_percent < 6 < change.high_percent
    assert change.series.case == "fix_size_alloc_test"


def test_faster_is_told_from_slower():
    (change,) = find_changes(history(nights=115, step_at=100, step=-0.06))
    assert change.direction is Direction.FASTER
    assert change.size_percent == pytest.approx(-6, abs=2)


def test_the_order_of_rows_does_not_matter():
    rows = history()
    assert find_changes(rows.sample(frac=1, random_state=3)) == find_changes(rows)


def test_each_host_is_a_series_of_its_own():
    both = history(nights=130, step_at=100, host=lambda n: "new" if n >= 100 else "old")
    assert find_changes(both) == []
    assert [track.series.host for track in follow(both)] == ["new (0a1b)", "old (0a1b)"]


@pytest.mark.parametrize(("column", "kind"), [("toolchain", Kind.TOOLCHAIN), ("work", Kind.WORK)])
def test_a_change_of_conditions_is_shown_and_no_alarm(column, kind):
    conditions = {column: lambda night: "new" if night >= 100 else "old"}
    (track,) = follow(history(nights=115, step_at=100, **conditions))
    assert track.changes == ()
    (remark,) = track.remarks
    assert (remark.run_id, remark.kind, remark.text) == ("run-100", kind, "old before, new since")


def compared(step=0.06, **more):
    """A history with a baseline; every tenth night the host is slower, for seven nights."""
    rows = history(step=step, **more)
    night = rows["run_id"].str[-3:].astype(int)
    host = 1 + 0.2 * (night % 10 < 7) + 0.004 * night
    base = 20_000 * np.exp(np.random.default_rng(5).normal(0, 0.01, night.max() + 1))
    rows["time_us"] *= host
    return rows.assign(baseline="plain", baseline_source="6.12", baseline_us=base[night] * host)


def test_what_the_host_does_to_baseline_and_candidate_alike_is_no_change():
    assert find_changes(compared(step=0)) == []
    (change,) = find_changes(compared())
    assert change.at_run in {"run-029", "run-030", "run-031"}
    assert change.low_percent < 6 < change.high_percent
    assert change.series.baseline == "plain"


@pytest.mark.parametrize("column", ["toolchain", "machine"])
def test_with_a_baseline_a_step_on_the_night_of_a_new_compiler_or_machine_is_found(column):
    rows = compared(**{column: lambda night: "new" if night >= 30 else "old"})
    (track,) = follow(rows)
    assert [change.at_run for change in track.changes] == ["run-030"]
    kinds = {remark.run_id: remark.kind for remark in track.remarks}
    assert kinds["run-030"] in {Kind.TOOLCHAIN, Kind.MACHINE}


def test_another_source_of_the_baseline_is_no_change_of_the_candidate():
    rows = compared()
    later = rows["run_id"] >= "run-030"
    rows.loc[later, "baseline_source"] = "6.13"
    (track,) = follow(rows)
    assert track.changes == ()
    assert track.breaks == {"run-030"}


def test_missing_nights_are_shown_and_a_step_across_them_is_found():
    rows = history(nights=125, step_at=105)
    rows = rows[~rows["run_id"].between("run-100", "run-104")]
    (track,) = follow(rows)
    gaps = [remark for remark in track.remarks if remark.kind is Kind.GAP]
    assert [(gap.run_id, gap.text) for gap in gaps] == [("run-105", "6 days without a run")]
    assert [change.at_run for change in track.changes] == ["run-105"]


def test_an_odd_night_is_shown_and_no_alarm():
    rows = history(step=0)
    rows.loc[rows["run_id"] == "run-020", "time_us"] *= 1.4
    (track,) = follow(rows)
    assert track.changes == ()
    (remark,) = track.remarks
    assert (remark.run_id, remark.kind) == ("run-020", Kind.OUTLIER)
    assert remark.text.startswith("+4")


def test_one_odd_boot_of_three_does_not_move_its_night():
    rows = history(step=0)
    rows.loc[rows.index % 3 == 0, "time_us"] *= 3
    (track,) = follow(rows)
    assert track.runs["time_us"].max() < 22_000
    assert list(track.runs["boots"].unique()) == [3]


def test_an_empty_history_and_a_foreign_frame():
    assert follow(history().iloc[:0]) == []
    with pytest.raises(InputError, match="toolchain"):
        follow(history().drop(columns="toolchain"))


def test_what_would_be_told_is_known_of_times_after_some_weeks():
    (early,) = follow(history(nights=30, step=0))
    (late,) = follow(history(nights=110, step=0))
    (ratios,) = follow(compared(step=0, nights=70))
    assert (early.detectable_change, ratios.detectable_change) == (None, None)
    assert 0.01 < late.detectable_change < 0.06
