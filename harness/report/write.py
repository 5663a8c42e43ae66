"""Writes the results of a run to its folder, atomically, and the index of all runs."""

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InfrastructureError
from harness.files import replace_file, replace_link, replacing
from harness.report.collect import RunReport, as_document, collect_report
from harness.report.explanation import load_explanations
from harness.report.index import render_index
from harness.report.page import render_page
from harness.report.predicted_speedup import compare_published, expected_curves, published_text
from harness.report.prediction import ensure_prediction
from harness.report.view import View
from harness.store.export import csv
from harness.store.store import Store


@dataclass(frozen=True)
class Written:
    """The results written for a run. `page`: path of the page.

    `published`: a sentence on the published ratio and this run's; empty if not comparable.
    """

    view: View
    page: Path
    published: str

    @property
    def report(self) -> RunReport:
        """The run and its comparison."""
        return self.view.report


def write_results(store: Store, run_id: str, reports: Path) -> Written:
    """Write index.html, results.json and samples.csv of a run, `latest`, and the index of runs.

    `run_id`: full id; the run may be unfinished. Raises InfrastructureError if writing fails.
    """
    report = collect_report(store, run_id)
    try:
        return _write(store, report, reports)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write the page of {run_id}: {error.filename or reports}: {error.strerror}\n"
            "  next: the results are in the store; free disk space or make the folder writable, "
            f"then: vmapbench report {run_id}"
        ) from error


def _write(store: Store, report: RunReport, reports: Path) -> Written:
    run_id = report.run.id
    folder = reports / run_id
    folder.mkdir(parents=True, exist_ok=True)
    kernels = View(report).kernels
    report = replace(report, explanations=load_explanations(folder, kernels))
    document = json.dumps(as_document(report), indent=1, default=str, allow_nan=False)
    replace_file(folder / "results.json", document)
    with replacing(folder / "samples.csv") as stream:
        csv.write(report, store, stream)
    view = View(report)
    reference = compare_published(view, expected_curves(view, ensure_prediction(view, folder)))
    replace_file(folder / "index.html", render_page(view, folder))
    with contextlib.suppress(IsADirectoryError):  # a user's folder is not replaced
        replace_link(reports / "latest", run_id)  # relative, so that the folder can be moved
    replace_file(reports / "index.html", render_index(store, reports))
    text = published_text(reference) if reference else ""
    return Written(view, folder / "index.html", text)
