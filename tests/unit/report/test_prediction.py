"""The prediction beside the measurement: where it applies, its errors, the published point."""

import json
from dataclasses import asdict, replace

import pytest

from harness.build.cache import Cache
from harness.report.collect import collect_report
from harness.report.predicted_speedup import (
    Expected,
    compare_published,
    error_text,
    expected_curves,
    published_text,
)
from harness.report.prediction import (
    FILE,
    FORMAT,
    PredictedPoint,
    RunPrediction,
    cached_predict,
    curve_cpus,
    ensure_prediction,
    load_prediction,
    model_digest,
    nodes_at,
    nodes_text,
    predict_setting,
    predictable,
    wanted_settings,
)
from harness.report.text import render_text
from harness.report.view import View
from harness.report.write import write_results
from tests.synthetic_runs import CASES, RUN, SIMULATED, write_synthetic_run

PUBLISHED_MACHINE = {"kind": "simulated", "machine": "threadripper-3970x"}


def view_of(folder, **options):
    store = write_synthetic_run(folder, **{"repeats": 3, "target": SIMULATED, **options})
    view = View(collect_report(store, RUN))
    store.close()
    return view


def with_plan(view, **kernels):
    run = replace(view.report.run, kernels={**view.report.run.kernels, **kernels})
    return View(replace(view.report, run=run))


def made_up(view, machine="uniform"):
    """Every wanted point: throughput grows with the nodes alone."""
    points = [
        PredictedPoint(case, cpus, nodes, 1e6 * nodes, "a lock")
        for case, cpus, nodes in wanted_settings(view)
    ]
    return RunPrediction(machine, "linux-6.12", model_digest(machine), tuple(points))


def test_settings_are_the_curve_of_both_kernels(tmp_path):
    view = view_of(tmp_path, thread_counts=(1, 3))
    assert wanted_settings(view) == [
        (case, cpus, nodes)
        for case in ("fix_size", "full_fit", "long_busy_list")
        for cpus, nodes in ((1, 1), (2, 1), (2, 2), (3, 1), (3, 3))
    ]


def test_curve_of_the_published_machine_reaches_the_published_point(tmp_path):
    view = view_of(tmp_path, thread_counts=(1, 3), target=PUBLISHED_MACHINE)
    assert curve_cpus(view, predictable(view)) == [1, 2, 3, 4, 8, 16, 32, 64]


def test_emulated_guest_has_no_prediction(tmp_path):
    assert wanted_settings(view_of(tmp_path, target=None)) == []


def test_workers_that_share_a_cpu_have_no_prediction(tmp_path):
    view = view_of(tmp_path, thread_counts=(2,))
    jobs = [replace(job, cpus=1) for job in view.report.jobs]
    frame = view.report.samples.assign(cpus=1), view.report.boots_frame.assign(cpus=1)
    shared = replace(view.report, jobs=jobs, samples=frame[0], boots_frame=frame[1])
    assert predictable(View(shared)) == []


@pytest.mark.parametrize("load", [{"nr_pages": 4}, {"use_huge": True}])
def test_other_areas_have_no_prediction(tmp_path, load):
    view = view_of(tmp_path, thread_counts=(2,))
    jobs = [replace(job, loads=({**job.loads[0], **load},)) for job in view.report.jobs]
    assert predictable(View(replace(view.report, jobs=jobs))) == []


def test_shuffled_cases_have_no_prediction(tmp_path):
    view = view_of(tmp_path, thread_counts=(2,))
    jobs = [replace(job, loads=({"sequential_test_order": False},)) for job in view.report.jobs]
    assert predictable(View(replace(view.report, jobs=jobs))) == []


@pytest.mark.parametrize(
    ("facts", "nodes"),
    [
        ({"release": "6.12.1"}, 8),
        ({"release": "6.9.0-rc1"}, 8),
        ({"release": "6.8.12"}, 1),
        ({"release": "6.1.170"}, 1),
        ({"release": "6.12.1", "boot_parameters": ["quiet", "vmap_nodes=2"]}, 2),
        ({"release": "6.12.1", "boot_parameters": ["vmap_nodes=32"]}, 8),
        ({"release": "6.12.1", "features": {"small_pools": "all"}}, 8),
        ({"release": "7.3.4", "features": {"small_pools": "none"}}, 0),  # not the calibrated kernel
        ({"release": "7.9.0", "features": {"small_pools": "all", "decay": "unknown"}}, 0),
        ({}, 0),
    ],
)
def test_nodes_follow_from_release_and_command_line(tmp_path, facts, nodes):
    view = with_plan(view_of(tmp_path, thread_counts=(1,)), **{"synthetic-new": facts})
    assert nodes_at(view, "synthetic-new", 8) == nodes


def test_kernel_that_reports_other_nodes_is_not_predicted(tmp_path):
    view = view_of(tmp_path, thread_counts=(4,))
    capped = with_plan(
        view, **{"synthetic-new": {"release": "6.12.0", "boot_parameters": ["vmap_nodes=2"]}}
    )
    assert nodes_at(capped, "synthetic-new", 4) == 0
    assert {row.kernel for row in predictable(capped)} == {"synthetic-old"}


def test_errors_are_of_the_measured_ratio_and_throughput(tmp_path):
    view = view_of(tmp_path, thread_counts=(1, 4))
    curves = expected_curves(view, made_up(view))
    point = next(e for e in curves if e.case == CASES[0] and e.cpus == 4)
    assert point.ratio == pytest.approx(4)
    assert point.measured is not None
    assert point.error == pytest.approx(4 / point.measured.ratio - 1)
    measured = {r.kernel: r.per_s for r in view.throughputs if (r.case, r.cpus) == (CASES[0], 4)}
    assert point.per_s_errors == pytest.approx(
        (1e6 / measured["synthetic-old"] - 1, 4e6 / measured["synthetic-new"] - 1)
    )
    between = next(e for e in curves if e.cpus == 2)
    assert between.measured is None
    assert between.error is None


def test_whole_load_weighs_each_case_by_its_time(tmp_path):
    view = view_of(tmp_path, thread_counts=(4,))
    made = made_up(view)
    slow = [replace(p, pairs_per_s=1.0) if p.case == "full_fit" else p for p in made.points]
    curves = expected_curves(view, replace(made, points=tuple(slow)))
    whole = next(e for e in curves if e.case == "whole load" and e.cpus == 4)
    assert whole.ratio == pytest.approx(1, abs=0.01)


def test_published_point_stands_only_beside_its_own_setting(tmp_path):
    view = view_of(tmp_path, thread_counts=(4,), target=PUBLISHED_MACHINE)
    curves = expected_curves(view, made_up(view, "threadripper-3970x"))
    found = compare_published(view, curves)
    assert found is not None
    assert (found.case, found.same_load, found.measured) == ("whole load", True, None)
    assert found.predicted == pytest.approx(64)
    assert published_text(found).startswith("Published, 64 threads: 12.69x; predicted 64x")
    capped = {"release": "6.12.0", "boot_parameters": ["vmap_nodes=2"]}
    assert compare_published(with_plan(view, **{"synthetic-new": capped}), curves) is None
    assert compare_published(view, []) is None


def test_a_point_is_worked_out_once_for_all_runs(tmp_path):
    predict, setting = cached_predict(Cache(tmp_path)), ("fix_size", 2, 1)
    assert predict(setting, "uniform") == predict_setting(setting, "uniform")
    [kept] = (tmp_path / "predictions").iterdir()
    other = replace(predict(setting, "uniform"), pairs_per_s=1.0)
    kept.write_text(json.dumps(asdict(other)))
    assert predict(setting, "uniform") == other
    kept.write_text("{")
    assert predict(setting, "uniform") == predict_setting(setting, "uniform")


def test_published_ratio_stands_below_the_answer(tmp_path):
    store = write_synthetic_run(tmp_path, repeats=3, thread_counts=(4,), target=PUBLISHED_MACHINE)
    made = made_up(View(collect_report(store, RUN)), "threadripper-3970x")
    folder = tmp_path / RUN
    folder.mkdir(exist_ok=True)
    (folder / FILE).write_text(json.dumps({"version": FORMAT, **asdict(made)}))
    written = write_results(store, RUN, tmp_path)
    store.close()
    assert written.published.startswith("Published, 64 threads: 12.69x; predicted 64x")
    header = written.page.read_text().partition("</h1>")[2].partition("</header>")[0]
    assert written.published in header
    answer = render_text(written.view, written.published).split("\n\n")[0]
    assert answer.replace("\n", " ").endswith(written.published)


def test_words_about_the_error(tmp_path):
    view = view_of(tmp_path, thread_counts=(1,))
    measured = next(e for e in view.main_effects if e.case == CASES[0])
    points = [
        Expected(
            workload="w",
            case="c",
            kernel="k",
            cpus=1,
            ratio=measured.ratio * off,
            per_s=(1.0, 1.0),
            measured=measured,
            measured_per_s=(2.0, 4.0),
        )
        for off in (1.1, 0.8, 3.0)
    ]
    words = error_text(points).replace("\N{NO-BREAK SPACE}", " ")
    assert words == "Off by 20 % on ratios and 62 % on throughput (median over 3 points)."
    assert error_text([]) == ""


def test_prediction_is_made_once_and_kept(tmp_path):
    view, asked = view_of(tmp_path, thread_counts=(1,)), []

    def predict(setting, machine):
        asked.append((setting, machine))
        return PredictedPoint(*setting, 1e6, "a lock")

    made = ensure_prediction(view, tmp_path / RUN, predict)
    assert asked == [(setting, "uniform") for setting in wanted_settings(view)]
    assert load_prediction(tmp_path / RUN) == made
    assert ensure_prediction(view, tmp_path / RUN, predict) == made
    assert len(asked) == len(wanted_settings(view))
    assert made is not None
    old = {"version": 1, **asdict(replace(made, made_from="an older model"))}
    (tmp_path / RUN / FILE).write_text(json.dumps(old))
    assert ensure_prediction(view, tmp_path / RUN, predict) == made
    assert len(asked) == 2 * len(wanted_settings(view))


def test_model_answers_a_setting():
    point = predict_setting(("fix_size", 1, 1), "uniform")
    assert 1e4 < point.pairs_per_s < 1e7


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "pairs": 1}'])
def test_prediction_that_does_not_fit_counts_for_nothing(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert load_prediction(tmp_path) is None


def test_page_shows_curve_error_profile_and_nodes(tmp_path):
    store = write_synthetic_run(tmp_path, thread_counts=(1, 2), target=SIMULATED)
    view = View(collect_report(store, RUN))
    made = made_up(view)
    document = {"version": 1, "machine": "uniform", "calibration": "linux-6.12"}
    document["made_from"] = made.made_from
    points = [vars(point) for point in made.points]
    (tmp_path / RUN / FILE).write_text(json.dumps({**document, "points": points}))
    page = write_results(store, RUN, tmp_path).page.read_text()
    store.close()
    for figure in ("speedup", "scaling", "profile"):
        assert f'id="figure-{figure}"' in page
    assert page.count('id="prediction-table"') == 1
    assert "Predicted and measured" in page
    assert "waiting for spin locks: 60.0 % on synthetic-old, 20.0 % on synthetic-new" in page
    assert "does not affect virtual time" in page


@pytest.mark.parametrize(
    ("facts", "of_boot", "words"),
    [
        ({"release": "6.12.1", "boot_parameters": []}, {"cpus": "16", "vmap_nodes": 4}, "4"),
        ({"release": "6.12.1", "boot_parameters": []}, {"cpus": "16"}, "(16)"),
        ({"release": "7.3.4", "boot_parameters": []}, {"cpus": 256, "vmap_nodes": None}, "(128)"),
        ({"release": "6.1.192", "boot_parameters": []}, {"cpus": "16"}, "(1)"),
        ({"release": "6.12.1", "boot_parameters": []}, {"cpus": None}, "\N{EN DASH}"),
        ({}, {"cpus": "16"}, "\N{EN DASH}"),
    ],
)
def test_the_nodes_of_a_boot_are_told_or_follow_from_the_design(tmp_path, facts, of_boot, words):
    view = with_plan(view_of(tmp_path, thread_counts=(1,)), **{"synthetic-new": facts})
    assert nodes_text(view, "synthetic-new", of_boot) == words
