"""The page of one run: one file, no network, whole without JavaScript and better with it."""

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.report import charts, resources
from harness.report.collect import RunReport, as_document
from harness.report.drawing import Figure
from harness.report.environment import environment, visible
from harness.report.provenance import (
    command_lines,
    config_diff,
    discarded_boots,
    kept_patches,
)
from harness.report.view import View, critical_differences

_PACKED_CHARACTERS = 600_000  # of raw data inside the page; beyond it only beside the page
_SAMPLES_INSIDE = 200_000  # rows; more would not fit, so they are not even packed
_BOOTS_SHOWN = 500
_CONFIG_ROWS_SHOWN = 200


def render_page(report: RunReport, folder: Path) -> str:
    """Return the page of a run. `folder` is the run's: console logs, configurations, profiles."""
    view = View(report)
    profiles = resources.load_profiles(report, folder)
    patches = [p for facts in report.run.kernels.values() for p in facts.get("patches") or []]
    differences = config_diff(folder, view.kernels)
    page = (
        environment()
        .get_template("page.html.j2")
        .render(
            view=view,
            run=report.run,
            plan=view.plan,
            figures=[(figure, Markup(figure.svg)) for figure in draw_figures(view)],  # noqa: S704
            several_sizes=len(view.sizes) > 1,
            profiles=profiles,
            profile_rows=resources.share_rows(profiles, "self_share"),
            wait_rows=resources.share_rows(profiles, "waits"),
            published=resources.PUBLISHED_SPIN,
            published_threads=resources.PUBLISHED_THREADS,
            discarded=discarded_boots(report, folder),
            boots=list(enumerate(report.boots, start=1))[:_BOOTS_SHOWN],
            jobs={job.position: job for job in report.jobs},
            machine=_machine(report),
            critical=critical_differences(view),
            config_diff=dict(list(differences.items())[:_CONFIG_ROWS_SHOWN]),
            config_diff_count=len(differences),
            patches=kept_patches(folder, list(dict.fromkeys(patches))),
            commands=command_lines(report),
            samples_packed=_packed_samples(report),
            document_packed=packed(json.dumps(as_document(report), default=str)),
        )
    )
    return visible(page)  # whatever a kernel, a file name or a playbook brought along


def draw_figures(view: View) -> list[Figure]:
    """Return the charts that this run has data for, the answer first."""
    drawn = (
        charts.draw_forest(view),
        charts.draw_scaling(view),
        resources.draw_nodes(view),
        charts.draw_workers(view),
        charts.draw_run_order(view),
        resources.draw_memory(view),
    )
    return [figure for figure in drawn if figure]


def _machine(report: RunReport) -> Mapping[str, Any]:
    machines = (boot.facts.get("machine") for boot in report.boots)
    return next((machine for machine in machines if machine), {})


def _packed_samples(report: RunReport) -> str:
    if len(report.samples) > _SAMPLES_INSIDE:
        return ""
    return packed(report.samples.drop(columns="run_id").to_csv(index=False))


def packed(text: str) -> str:
    """Return text compressed for the page's script; empty when it would make the page too large."""
    data = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return data if len(data) <= _PACKED_CHARACTERS else ""
