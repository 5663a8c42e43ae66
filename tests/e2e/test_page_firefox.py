"""The page in a real Firefox, opened from disk: quiet, sortable, never wider than the screen."""

import csv
import json
import time
from pathlib import Path

import pytest

from harness.report.write import write_results
from tests.firefox import PROGRAM, running_firefox
from tests.synthetic_runs import RUN, SIMULATED, write_synthetic_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    reports = tmp_path_factory.mktemp("reports")
    store = write_synthetic_run(reports, thread_counts=(1, 2), hostile=True, target=SIMULATED)
    written = write_results(store, RUN, reports)
    store.close()
    return written.page.as_uri()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    assert Path(PROGRAM).exists(), "Firefox is not installed: setup/install.sh test"
    with running_firefox(tmp_path_factory.mktemp("profile"), downloads) as browser:
        yield browser


@pytest.fixture
def page(browser, url):
    """Yield the open page, and check that it printed and requested nothing."""
    browser.said.clear()
    browser.asked.clear()
    browser.open(url)
    yield browser
    assert browser.said == []
    own = (url, "data:", "blob:")
    assert [asked for asked in browser.asked if not asked.startswith(own)] == []


def test_shows_answer_charts_and_tables(page):
    assert "synthetic-new is " in page.evaluate("document.querySelector('h1').innerText")
    figures = page.evaluate("[...document.querySelectorAll('figure')].map(f => f.id)")
    assert {"figure-forest", "figure-speedup", "figure-scaling", "figure-profile"} <= set(figures)
    drawn = "[...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().height)"
    assert all(height > 50 for height in page.evaluate(drawn))


def test_sorts_and_filters(page):
    page.evaluate(
        "[...document.querySelectorAll('#effects th button')]"
        ".find(b => b.textContent === 'ratio').click()"
    )
    values = page.evaluate(
        "[...document.querySelector('#effects').tBodies[0].rows]"
        ".map(r => Number(r.querySelector('td[data-value]').dataset.value))"
    )
    assert values == sorted(values)
    page.evaluate(
        "(() => { const i = document.querySelector('[data-filters=effects]');"
        " i.value = 'long_busy'; i.dispatchEvent(new Event('input')); })()"
    )
    shown = page.evaluate(
        "[...document.querySelectorAll('#effects tbody tr')]"
        ".filter(r => r.checkVisibility()).map(r => r.innerText)"
    )
    assert shown
    assert all("long_busy_list_alloc" in row for row in shown)


def test_number_leads_to_its_samples(page):
    page.evaluate(
        "[...document.querySelectorAll('#throughputs tr')]"
        ".filter(r => r.textContent.includes('fix_size_alloc')).at(-1).querySelector('a').click()"
    )
    dialog = "document.getElementById('samples-dialog')"
    text = page.evaluate(
        f"new Promise(done => {{ const look = () => {dialog}.open"
        f" ? done({dialog}.innerText) : setTimeout(look, 20); look(); }})"
    )
    assert "fix_size_alloc_test" in text


def test_downloads_what_it_holds(page, downloads):
    for name in (f"{RUN}.csv", f"{RUN}.json"):
        page.evaluate(f"document.querySelector('a[download=\"{name}\"]').click()")
        while not (downloads / name).exists() or list(downloads.glob("*.part")):
            time.sleep(0.1)
    with (downloads / f"{RUN}.csv").open() as file:
        assert "avg_us" in next(csv.reader(file))
    assert json.loads((downloads / f"{RUN}.json").read_text())["run"]["id"] == RUN


@pytest.mark.parametrize("width", [360, 1920])
def test_fits_the_screen(browser, url, screenshots, width):
    browser.open(url, width)
    browser.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.screenshot(screenshots / f"page-firefox-{width}.png")
