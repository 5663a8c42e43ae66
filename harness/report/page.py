"""Renders the page of a run: a single file that works offline and without JavaScript."""

import base64
import functools
import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.build.kconfig import critical_differences
from harness.build.start_config import describe_start
from harness.report import (
    charts,
    explanation,
    flame,
    latency,
    memory,
    profile,
    published,
    resources,
    scaling,
)
from harness.report.collect import RunReport, as_document
from harness.report.drawing import Figure
from harness.report.environment import environment
from harness.report.lights import validity_lights
from harness.report.predicted_speedup import (
    Expected,
    PublishedRatio,
    compare_published,
    error_text,
    expected_curves,
    published_text,
)
from harness.report.prediction import RunPrediction, load_prediction, nodes_text
from harness.report.provenance import (
    command_lines,
    config_diff,
    discarded_boots,
    kept_patches,
)
from harness.report.published_rows import PublishedRow, published_rows
from harness.report.view import View
from harness.testmod.latency import PERCENTILES
from harness.text import visible

_CHARACTERS = 1_990_000  # limit of a page; raw data that exceed it are not embedded
_SAMPLES_INSIDE = 200_000  # rows above which samples are not embedded, as they do not fit
_BOOTS_SHOWN = 500
_CONFIG_ROWS_SHOWN = 200


def render_page(view: View, folder: Path, most_characters: int = _CHARACTERS) -> str:
    """Return the page of a run. `folder`: of the run, with logs, configurations and profiles.

    Raw data are embedded if the page then has at most `most_characters`.
    """
    template, values = environment().get_template("page.html.j2"), _values(view, folder)
    samples, document = (
        _packed_samples(view.report),
        packed(json.dumps(as_document(view.report), default=str)),
    )
    page = ""
    for samples_packed, document_packed in ((samples, document), ("", document), ("", "")):
        page = template.render(
            values, samples_packed=samples_packed, document_packed=document_packed
        )
        page = re.sub(r"\n +(?=</?t[dhr]\b)", "\n", page)  # removes the indentation of cells
        if len(page) <= most_characters:
            break
    return visible(page)  # control characters of logs, file names and playbooks


def _values(view: View, folder: Path) -> dict[str, Any]:
    """Return the values for the template, without raw data."""
    report = view.report
    profiles = profile.load_profiles(view, folder)
    patches = [p for facts in report.run.kernels.values() for p in facts.get("patches") or []]
    differences = config_diff(folder, view.kernels)
    prediction = load_prediction(folder)
    curves = expected_curves(view, prediction)
    reference = compare_published(view, curves)
    found, unmatched = published_rows(view, folder)
    figures = draw_figures(view, prediction, curves, reference, found)
    difference = figure_or_error("profile", lambda: profile.draw_profile(view, profiles))
    return {
        "view": view,
        "lights": validity_lights(view),
        "run": report.run,
        "plan": view.plan,
        "figures": [(figure, Markup(figure.svg)) for figure in figures],  # noqa: S704
        "difference": difference,
        "difference_svg": Markup(difference.svg) if difference else "",  # noqa: S704
        "profiles": profiles,
        "memory": memory.free_rows(view),
        "latencies": latency.latency_table(view),
        "latency_cost": latency.cost_sentences(view),
        "explanations": report.explanations,
        "flames": flame.flame_graphs(report.explanations),
        "explained_functions": explanation.function_rows(report.explanations),
        "probe_costs": explanation.probe_costs(report.explanations, report.boots_frame),
        "lock_columns": explanation.lock_columns(report.explanations),
        "call_rows": explanation.call_rows(report.explanations),
        "call_percentiles": PERCENTILES,
        "explained_locks": explanation.lock_rows(report.explanations),
        "profile_rows": profile.share_rows(profiles, "self_share"),
        "wait_rows": profile.share_rows(profiles, "waits"),
        "published": published,
        "prediction": prediction,
        "expected": [each for each in curves if each.measured],
        "error_text": error_text(curves),
        "published_text": published_text(reference) if reference else "",
        "published_rows": found,
        "unmatched": unmatched,
        "discarded": discarded_boots(report, folder),
        "boots": list(enumerate(report.boots, start=1))[:_BOOTS_SHOWN],
        "job_of": report.job_of,
        "machine": _machine(report),
        "describe_start": describe_start,
        "critical": critical_differences(report.run.critical),
        "config_diff": dict(list(differences.items())[:_CONFIG_ROWS_SHOWN]),
        "config_diff_count": len(differences),
        "patches": kept_patches(folder, list(dict.fromkeys(patches))),
        "commands": command_lines(report),
        "nodes_text": functools.partial(nodes_text, view),
    }


def draw_figures(
    view: View,
    prediction: RunPrediction | None,
    curves: Sequence[Expected],
    reference: PublishedRatio | None,
    found: Sequence[PublishedRow] = (),
) -> list[Figure]:
    """Return the charts for which the run has data, in the order of the page."""
    drawn = (
        figure_or_error("forest", lambda: charts.draw_forest(view)),
        figure_or_error("speedup", lambda: scaling.draw_speedup(view, curves, reference, found)),
        figure_or_error("throughput", lambda: scaling.draw_throughput(view, curves)),
        figure_or_error("nodes", lambda: resources.draw_nodes(view, prediction)),
        figure_or_error("workers", lambda: charts.draw_workers(view)),
        figure_or_error("order", lambda: charts.draw_run_order(view)),
        figure_or_error("memory", lambda: memory.draw_memory(view)),
        figure_or_error("free-pages", lambda: memory.draw_free_pages(view)),
    )
    return [figure for figure in drawn if figure]


def figure_or_error(name: str, draw: Callable[[], Figure | None]) -> Figure | None:
    """Return `draw()`, or if it fails a figure with the error message in place of the chart."""
    try:
        return draw()
    except Exception as error:
        why = f"This chart could not be drawn ({type(error).__name__}: {error})."
        return Figure(
            name, f"Chart {name} is missing", f"{why} The tables have its figures.", "", ""
        )


def _machine(report: RunReport) -> Mapping[str, Any]:
    machines = (boot.facts.get("machine") for boot in report.boots)
    return next((machine for machine in machines if machine), {})


def _packed_samples(report: RunReport) -> str:
    if len(report.samples) > _SAMPLES_INSIDE:
        return ""
    return packed(report.samples.drop(columns="run_id").to_csv(index=False))


def packed(text: str) -> str:
    """Return text compressed and encoded for the page's script."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
