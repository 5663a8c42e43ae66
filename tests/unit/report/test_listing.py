"""The table for mails: narrow, signed, and read back by `vmapbench parse`."""

import json
from dataclasses import replace

import pytest

from harness.analysis.judging import Word
from harness.report.collect import collect_report
from harness.report.listing import COLUMNS, point_text, render_list
from harness.report.view import View
from harness.testmod.posted import parse_posted
from tests.synthetic_runs import RUN, write_synthetic_run


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    store = write_synthetic_run(tmp_path_factory.mktemp("list"))
    yield View(collect_report(store, RUN))
    store.close()


def test_every_row_comes_back_with_its_sign_and_interval(view):
    text = render_list(view)
    rows = parse_posted(text)
    assert len(rows) == len(view.main_effects)
    for row in rows:
        effect = next(
            e for e in view.main_effects
            if e.case == row.case and row.change == pytest.approx(1 / e.ratio - 1, abs=6e-4)
        )  # fmt: skip
        assert row.low == pytest.approx(1 / effect.high - 1, abs=6e-4)
        assert row.high == pytest.approx(1 / effect.low - 1, abs=6e-4)
        assert row.word == {Word.FASTER: "improvement", Word.SLOWER: "regression"}.get(
            effect.word, ""
        )
    assert {row.word for row in rows} >= {"improvement", ""}


def test_it_fits_a_mail_whatever_the_names(view):
    long = "kvfree_rcu_1_arg_vmalloc_test"
    comparison = view.report.comparison
    rows = comparison.rows.replace({"case": {"fix_size_alloc_test": long}})
    facts = {name: {**f, "label": "x" * 40 + name} for name, f in view.report.run.kernels.items()}
    run = replace(view.report.run, kernels=facts)
    wide = View(replace(view.report, run=run, comparison=replace(comparison, rows=rows)))
    text = render_list(wide)
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert len([row for row in parse_posted(text) if row.case == long]) == 2
    assert max(map(len, render_list(view).splitlines())) <= COLUMNS


def test_a_run_without_a_boot_says_so(view):
    text = render_list(View(replace(view.report, comparison=None)))
    assert "Boots of\neach side: none." in text


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "p:1 h:0 l:1000000"),
        ({"nr_pages": 512, "use_huge": True, "test_loop_count": 5}, "p:512 h:1 l:5"),
        ({"nr_pages": 0, "use_huge": "n"}, "p:1 h:0 l:1000000"),
    ],
)
def test_what_a_load_leaves_out_is_the_modules_default(parameters, words):
    assert point_text(parameters) == words


def test_the_verb_prints_it_and_parse_reads_it(tmp_path, view, capsys):
    from harness.cli.main import command_line

    write_synthetic_run(tmp_path).close()
    app = command_line()
    assert not app(
        ["report", "--reports", str(tmp_path), "--format", "list"], standalone_mode=False
    )
    (tmp_path / "mail").write_text(capsys.readouterr().out)
    assert not app(["parse", str(tmp_path / "mail")], standalone_mode=False)
    assert len(json.loads(capsys.readouterr().out)["posted"]) == len(view.main_effects)
