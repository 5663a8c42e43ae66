"""What tables and pages call a kernel."""

from dataclasses import replace

import pytest

from harness.report.collect import collect_report, compare_run
from harness.report.page import render_page
from harness.report.text import render_mail, render_markdown, render_text
from harness.report.view import View
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    store = write_synthetic_run(tmp_path_factory.mktemp("labels"))
    yield collect_report(store, RUN)
    store.close()


def labelled(report, *labels):
    """The report of kernels with these labels, the baseline first."""
    names = View(report).kernels
    facts = {
        name: {**report.run.kernels[name], "label": label}
        for name, label in zip(names, labels, strict=True)
    }
    run = replace(report.run, kernels=facts)
    compared = compare_run(run, report.samples, report.boots_frame, report.boots)
    return View(replace(report, run=run, comparison=compared))


def test_a_label_stands_for_the_name_in_answer_tables_and_charts(report, tmp_path):
    view = labelled(report, "HEAD", "working tree")
    assert view.verdict_sentence.startswith("working tree is ")
    for text in (render_text(view), render_mail(view), render_markdown(view)):
        assert "than HEAD over" in " ".join(text.split())
        assert not [name for name in view.kernels if name in text]
    page = render_page(view, tmp_path)
    assert ">working tree</text>" in page, "the legend of a chart"
    assert '<td class="name">working tree</td>' in page
    assert f"Kernel working tree ({view.kernels[1]})" in page


def test_kernels_that_share_a_label_go_by_their_names(report):
    view = labelled(report, "vmap nodes", "vmap nodes")
    assert [view.label(name) for name in view.kernels] == view.kernels


def test_a_label_from_a_foreign_store_is_one_short_line_of_text(report, tmp_path):
    view = labelled(report, "HEAD", "\x1b[2J'](alert(1))\n<script>" + "x" * 100)
    assert len(view.label(view.kernels[1])) <= 40
    page = render_page(view, tmp_path)
    assert "\x1b" not in page
    assert "alert(1))\n<script>" not in page
    assert "<script>xx" not in page
    assert "could not be drawn" not in page
