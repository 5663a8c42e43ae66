"""A synthetic run as page, text and files."""

import gzip
import json
import re
from base64 import b64decode

import pytest

from harness.report.collect import collect_report
from harness.report.page import render_page
from harness.report.text import render_mail, render_markdown
from harness.report.view import View
from harness.report.write import write_results
from harness.text import MAIL_COLUMNS
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    reports = tmp_path_factory.mktemp("reports")
    store = write_synthetic_run(reports, hostile=True)
    yield write_results(store, RUN, reports)
    store.close()


def test_files_are_whole_and_latest_points_to_them(written):
    reports = written.page.parent.parent
    assert (reports / "latest").resolve() == written.page.parent.resolve()
    results = json.loads((written.page.parent / "results.json").read_text())
    assert results["version"] == 1
    assert results["headline"]["ratio"] > 0
    samples = (written.page.parent / "samples.csv").read_text().splitlines()
    assert len(samples) == 1 + len(written.report.samples)
    index = (reports / "index.html").read_text()
    assert f'href="{RUN}/index.html"' in index
    assert not [file for file in reports.rglob(".*") if file.is_file()]


def test_free_pages_stand_on_the_page_and_in_the_results_with_units(written):
    page = written.page.read_text()
    assert 'id="figure-free-pages"' in page
    assert "<svg" in page[page.index('id="figure-free-pages"') :]
    table = page[page.index('id="memory-table"') :]
    assert "102 ± 2" in table  # single pages of four boots: 100 to 103
    rows = json.loads((written.page.parent / "results.json").read_text())["memory"]
    single = [row for row in rows if row["group"] == "free_pages" and row["what"] == "0"]
    assert {row["unit"] for row in single} == {"pages"}
    assert {row["moment"] for row in single} == {"before", "after", "at rest"}
    assert all(row["low"] < row["mean"] < row["high"] for row in single)


def test_extra_boots_stand_on_the_page_only_where_there_are_any(tmp_path):
    store = write_synthetic_run(tmp_path)
    first = write_results(store, RUN, tmp_path)
    assert 'id="explanation"' not in first.page.read_text()
    for number, kernel in enumerate(first.view.kernels):
        use = {"lock": "l", "caller": "c<b>", "taken": 4, "timed": 4, "wait_ns": 5_000_000}
        use |= {"longest_wait_ns": 1, "hold_ns": 7_000_000 + number, "longest_hold_ns": 2}
        function = {"function": "vfree", "cpu_ns": 3_000_000 * (number + 1)}
        said = {"version": 1, "kernel": kernel, "clock": "virtual time", "spin_ns": 0}
        alike = first.report.boots_frame.query("kernel == @kernel and load_ns > 0").iloc[0]
        said |= {name: alike[name].item() for name in ("cpus", "nr_threads")}
        said |= {"workload": alike["workload"], "load_ns": 3_600_000_000_000}
        file = tmp_path / RUN / "explanations" / f"{kernel}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**said, "locks": [use], "functions": [function]}))
    written = write_results(store, RUN, tmp_path)
    store.close()
    page = written.page.read_text()
    assert "c&lt;b&gt;" in page[page.index('id="locks-table"') :]
    assert "+3.000" in page[page.index('id="explained-functions"') :]
    document = json.loads((written.page.parent / "results.json").read_text())["explanation"]
    assert document["functions"][0]["change"] == 3_000_000
    assert document["units"]["hold_ns"] == "ns"
    assert set(document["cost"]) == set(first.view.kernels)
    assert all(ratio > 1 for ratio in document["cost"].values())
    assert f"{100 * document['cost'][first.view.kernels[0]] - 100:+.1f} %" in page


def test_single_calls_stand_on_the_page_with_what_timing_them_cost(written):
    page = written.page.read_text()
    table = page[page.index('id="latency-table"') :]
    assert "642 ± 2" in table
    assert "The cost of timing the calls is unknown" in page
    latency = json.loads((written.page.parent / "results.json").read_text())["latency"]
    assert {row["unit"] for row in latency["rows"]} == {"ns"}
    assert latency["cost"] == []


def test_writing_again_gives_the_same_page(written):
    before = written.page.read_text()
    from harness.store.store import open_store

    reports = written.page.parent.parent
    store = open_store(reports / "vmapbench.db")
    write_results(store, RUN, reports)
    store.close()
    # The id of a clip path counts drawings of the process.
    assert re.sub(r"clip\d+", "", written.page.read_text()) == re.sub(r"clip\d+", "", before)


def test_page_is_one_small_file_that_asks_for_nothing(written):
    page = written.page.read_text()
    assert len(page.encode()) < 2_000_000
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "url(" not in re.sub(r"url\(#clip\d+\)", "", page)
    assert "@import" not in page


def test_hostile_log_is_text_and_cut(written):
    page = written.page.read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "{{ 7*7 }}" in page
    assert "A" * 500 not in page
    assert not set(page) & set("\x00\x07\x1b\u202e")


def test_page_holds_its_samples(written):
    page = written.page.read_text()
    block = re.search(r'id="samples-packed">([^<]*)<', page)[1]
    inside = gzip.decompress(b64decode(block)).decode().splitlines()
    assert len(inside) == 1 + len(written.report.samples)


def test_nothing_is_coloured_without_significance(written):
    page = written.page.read_text()
    effects = re.search(r'id="effects">(.*?)</table>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr data-key=.*?</tr>", effects, re.DOTALL)
    assert rows
    for row in rows:
        coloured = re.search(r'class="[^"]*(better|worse)', row)
        shown = re.search(r">(faster|slower)<", row)
        assert bool(coloured) == bool(shown), row
    assert any("better" in row for row in rows)


def test_mail_fits_72_columns_of_ascii(written):
    mail = render_mail(written.view)
    assert mail.isascii()
    assert max(map(len, mail.splitlines())) <= MAIL_COLUMNS
    assert "synthetic-new is " in mail


def test_markdown_escapes_names(written):
    text = render_markdown(written.view)
    assert r"| fix\_size\_alloc |" in text


def test_run_without_any_boot_has_a_page(tmp_path):
    store = write_synthetic_run(tmp_path, thread_counts=(), repeats=0)
    written = write_results(store, RUN, tmp_path)
    assert written.report.comparison is None
    assert "Nothing can be compared" in written.page.read_text()
    assert "Nothing can be compared" in render_mail(View(collect_report(store, RUN)))
    store.close()


def test_page_stays_small_enough_for_a_mail(written):
    whole = written.page.read_text()
    smaller = render_page(written.view, written.page.parent, most_characters=len(whole) - 100)
    assert 'id="samples-packed"' in whole
    assert 'id="samples-packed"' not in smaller
    assert 'id="document-packed"' in smaller
