"""The index with its trend lines in a real Chromium, from disk and served, with and without script.

The store holds 125 made-up nights on each of two hosts, with a slow-down and another compiler.
"""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

from harness.report.index import render_index
from harness.store.store import open_store
from tests.e2e.test_page import CHROMIUM, FLAGS
from tests.serving import serving
from tests.synthetic_history import keep_night

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m"
AT = "2026-night-100"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def store(reports):
    store = open_store(reports / "vmapbench.db")
    for night in range(125):
        keep_night(
            store,
            night if night < 115 else night + 12,
            20_000 if night < 100 else 21_000,
            compiler="gcc 12" if night < 119 else "gcc 14",
        )
    for night in range(125, 130):
        keep_night(store, night + 40, 9_000, cpu=HOSTILE, line=HOSTILE)
    yield store
    store.close()


@pytest.fixture(scope="module")
def from_disk(store, reports):
    (reports / AT).mkdir()
    (reports / AT / "index.html").write_text("<title>the page of that run</title>")
    (reports / "index.html").write_text(render_index(store, reports), encoding="utf-8")
    return (reports / "index.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=0)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, from_disk):
    """Yield the open index, and check that it printed and requested nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(0)  # tests/fair_clock.py ends what hangs
    page = context.new_page()
    said, asked = [], []
    for event in ("console", "pageerror", "dialog"):
        page.on(event, lambda what: said.append(str(what)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(from_disk)
    yield page
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")][:1] == [from_disk]
    assert len(asked) <= 2  # the index, and the run that a test went to


def test_a_line_for_each_series_with_its_change(page):
    assert page.locator("figure.trend").count() == 4
    first = page.locator("figure.trend").first
    assert "5.0 % slower" in first.inner_text()
    assert "Without a baseline in the same run " in first.inner_text()
    assert first.locator("circle").count() == 125
    assert first.locator("circle.slower").count() == 1
    marks = first.locator(".mark title").all_text_contents()
    assert any("toolchain changed: gcc 12" in words for words in marks)
    assert any("13 days without a run" in words for words in marks)
    assert page.locator("#changes tbody tr").count() == 2


def test_hovering_tells_the_run_and_the_point_leads_to_it(page):
    point = page.locator("figure.trend circle.slower").first
    assert "2026-04-11 02:00" in point.locator("title").text_content()
    point.hover()
    with page.expect_navigation():
        point.click()
    assert page.title() == "the page of that run"


def test_filters_by_host_case_and_change(page):
    shown = page.locator("figure.trend:visible")
    assert page.locator("#trend-count").inner_text() == "4 of 4 series"
    page.get_by_label("Case").select_option("whole load")
    assert shown.count() == 2
    page.get_by_label("only with changes").check()
    assert shown.count() == 1
    assert page.locator("#changes tbody tr:visible").count() == 1
    page.get_by_label("Case").select_option("")
    page.get_by_label("only with changes").uncheck()
    other = page.locator("select[data-trend-filter=host] option").nth(1).get_attribute("value")
    hosts = page.locator("select[data-trend-filter=host] option").all_inner_texts()
    page.get_by_label("Host").select_option(index=len(hosts) - 1)
    assert shown.count() == 2
    assert other != hosts[-1]


def test_hostile_names_do_nothing(page):
    assert page.locator("main img, main script").count() == 0
    assert "onerror" in page.locator("main").inner_text()
    assert "\x1b" not in page.content()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1920, "light")])
def test_fits_the_screen_and_is_accessible(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    violations = Axe().run(page).response["violations"]
    assert [v["id"] for v in violations if v["impact"] in ("serious", "critical")] == []


def test_whole_without_javascript(browser, from_disk):
    context = browser.new_context(java_script_enabled=False)
    context.set_default_timeout(0)  # tests/fair_clock.py ends what hangs
    page = context.new_page()
    page.goto(from_disk)
    assert page.locator("figure.trend:visible").count() == 4
    assert page.locator("#trend-tools").is_hidden()
    page.locator("figure.trend circle.slower").first.click()
    assert page.title() == "the page of that run"
    context.close()


def test_served_from_the_same_templates(browser, store, reports):
    with serving(reports) as (port, _):
        page = browser.new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.set_default_timeout(0)
        page.goto(f"http://127.0.0.1:{port}/")
        assert page.locator("figure.trend").count() == 4
        assert page.locator("#trend-tools").is_visible()  # our script may run
        linked = page.locator("figure.trend").first.locator("a[href]")
        assert linked.count() == 125  # served, every run has a page
        assert [words for words in said if "Content Security Policy" in words] == []
        page.close()
        other = browser.new_page()  # a page of somebody else that frames ours
        other.set_default_timeout(0)
        other.set_content(f'<iframe src="http://127.0.0.1:{port}/"></iframe>')
        assert all(frame.locator("figure.trend").count() == 0 for frame in other.frames)
        other.close()
