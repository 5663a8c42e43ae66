"""The page in a real Chromium: quiet, sortable, accessible, and never wider than the screen."""

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from harness.report.write import write_results
from tests.synthetic_runs import RUN, SIMULATED, write_synthetic_run

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    reports = tmp_path_factory.mktemp("reports")
    store = write_synthetic_run(reports, hostile=True, target=SIMULATED)
    written = write_results(store, RUN, reports)
    store.close()
    return written.page.as_uri()


@pytest.fixture(scope="module")
def browser():
    assert Path(CHROMIUM).exists(), "Chromium is not installed: setup/install.sh test"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=0)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url):
    """Yield the open page, and check that it printed and requested nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(0)  # tests/fair_clock.py ends what hangs
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert said == []
    assert [u for u in asked if not u.startswith(("data:", "blob:"))] == [url]


def test_first_screen_answers(page):
    headline = page.locator("h1").inner_text()
    assert headline.startswith(
        "synthetic-new is 1.14x faster than synthetic-old over the whole load"
    )
    assert page.locator(".lights li").count() == 6
    forest = page.locator("#figure-forest .plot").bounding_box()
    assert forest["y"] < 900


def test_sorts_and_filters(page):
    ratios = "[...document.querySelectorAll('#effects tbody tr:not([hidden]) td[data-value]')]"
    first = page.locator("#effects tbody tr").first.inner_text()
    head = page.locator("#effects th button", has_text="ratio")
    head.click()
    values = page.evaluate(
        "[...document.querySelector('#effects').tBodies[0].rows]"
        ".map(r => Number(r.querySelector('td[data-value]').dataset.value))"
    )
    assert values == sorted(values)
    head.click()
    assert page.locator("#effects th[aria-sort=descending]").count() == 1
    page.get_by_label("Filter results").fill("long_busy")
    assert page.evaluate(f"{ratios}.length") > 0
    shown = page.locator("#effects tbody tr:visible").all_inner_texts()
    assert all("long_busy_list_alloc" in row for row in shown)
    assert first


def test_numbers_lead_to_their_samples(page):
    page.locator("#throughputs tr", has_text="fix_size_alloc").last.locator("a").first.click()
    dialog = page.locator("#samples-dialog")
    dialog.wait_for(state="visible")
    assert "fix_size_alloc_test" in dialog.inner_text()
    assert dialog.locator("tbody tr").count() >= 3
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")


def test_downloads_what_it_holds(page, tmp_path):
    for name, beginning in (("samples.csv", "boot,"), ("results.json", "{")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name, exact=True).click()
        download.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_text().startswith(beginning)
    assert json.loads((tmp_path / "results.json").read_text())["run"]["id"] == RUN


def test_hostile_text_does_nothing(page):
    page.locator("details", has_text="crashed").first.locator("summary").click()
    assert page.locator("main script, main img").count() == 0


@pytest.mark.parametrize("width", [360, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_the_screen_and_is_accessible(page, screenshots, width, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=screenshots / f"page-{width}-{scheme}.png", full_page=True)
    found = Axe().run(page).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert serious == [], [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in serious]


def test_dark_mode_and_print_change_the_paper(page, screenshots):
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(paper) != light
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    page.screenshot(path=screenshots / "page-print.png", full_page=True)


def test_rows_of_the_slowest_worker_are_there_where_asked_for(page):
    rows, slowest = page.locator("#effects tbody tr:visible"), "slowest worker"
    before = rows.all_inner_texts()
    assert before
    assert not any(slowest in row for row in before)
    page.get_by_label("the slowest worker of each case too").check()
    after = rows.all_inner_texts()
    assert [row for row in after if slowest not in row] == before
    assert len(after) > len(before)


def test_whole_without_javascript(browser, url):
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(0)  # tests/fair_clock.py ends what hangs
    page = context.new_page()
    page.goto(url)
    assert page.locator("#effects tbody tr").count() > 0
    assert page.locator("figure svg").count() >= 4
    assert not page.get_by_label("Filter results").is_visible()
    context.close()
