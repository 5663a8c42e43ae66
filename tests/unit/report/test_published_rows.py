"""Figures of others on the page: posted tables and small files."""

import re
from importlib.resources import files

import pytest

from harness.errors import InputError, SpecError
from harness.report import published
from harness.report.collect import collect_report
from harness.report.listing import render_list
from harness.report.page import render_page
from harness.report.published_rows import FOLDER, load_published, published_rows, store_published
from harness.report.view import View
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    store = write_synthetic_run(tmp_path_factory.mktemp("published"))
    yield View(collect_report(store, RUN))
    store.close()


@pytest.fixture
def posted(view, tmp_path):
    """The run's own table, as a mail that somebody else has sent, with a row that is not here."""
    mail = tmp_path / "mail <1>.txt"
    more = "fix_size_alloc_test: p:64, h:1, l:500000 (usec) | (R) 4.20%\n"
    mail.write_text(f"{render_list(view)}\n{more}")
    return mail


def test_a_posted_table_is_compared_with_the_runs_own_figures(view, posted, tmp_path):
    assert store_published(posted, tmp_path) == len(view.main_effects) + 1
    posted.unlink()
    found, unmatched = published_rows(view, tmp_path)
    assert len(found) == len(view.main_effects)
    for each in found:
        assert each.posted.change == pytest.approx(1 / each.effect.ratio - 1, abs=6e-4)
        assert each.source.startswith("mail <1>.txt, ")
        assert not each.other_loops
    assert unmatched == {"mail <1>.txt": 1}
    page = render_page(view, tmp_path)
    assert 'id="published"' in page
    assert "mail &lt;1&gt;.txt: 1 figure of cases" in page
    assert "Crosses are published ratios" in page


def test_a_page_without_published_figures_has_no_such_section(view, tmp_path):
    assert 'id="published"' not in render_page(view, tmp_path)


def test_a_small_file_has_points(view, tmp_path):
    effect = view.main_effects[0]
    file = tmp_path / "letter.yaml"
    file.write_text(
        f"version: 1\nsource: a letter\npoints:\n"
        f"  - {{case: {effect.case}, threads: {effect.nr_threads}, ratio: 4, loops: 7}}\n"
        "  - {case: fix_size, threads: 4096, change_percent: -50}\n"
    )
    store_published(file, tmp_path)
    store_published(tmp_path / FOLDER / "letter.yaml", tmp_path)  # once more, from where it is kept
    found, unmatched = published_rows(view, tmp_path)
    assert {(each.effect.case, each.source) for each in found} == {(effect.case, "a letter")}
    assert all(each.ratio == pytest.approx(4) for each in found)
    assert all(each.other_loops for each in found)
    assert unmatched == {"a letter": 1}
    assert load_published(file)[1][1].change == -0.5


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.txt", "Dear all,\n", InputError, "no row of a table"),
        ("a.yaml", "version: 1\nsource: x\npoints: []\n", SpecError, "points"),
        ("a.yaml", "version: 1\nsource: x\npoints:\n  - {case: a}\n", SpecError, "4: .*either"),
        ("a.yaml", "version: 1\nsource: x\npoints:\n  - {case: a, change_percent: -100}\n",
         SpecError, "4: .*greater than -100"),
        ("none.txt", None, InputError, "does not exist"),
    ],
)  # fmt: skip
def test_what_holds_no_figures_is_refused_and_not_kept(tmp_path, name, text, error, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=words):
        store_published(tmp_path / name, tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_a_kept_file_that_somebody_damaged_costs_its_figures_only(view, posted, tmp_path):
    store_published(posted, tmp_path)
    (tmp_path / FOLDER / posted.name).write_text("nothing")
    assert published_rows(view, tmp_path) == ([], {})


def test_what_templates_show_of_the_published_result_exists():
    templates = files("harness.report") / "templates"
    texts = [each.read_text() for each in templates.iterdir() if each.name.endswith(".j2")]
    used = {name for text in texts for name in re.findall(r"\bpublished\.([A-Z]+)\b", text)}
    assert used >= {"SPIN", "THREADS"}
    assert [name for name in used if not hasattr(published, name)] == []
