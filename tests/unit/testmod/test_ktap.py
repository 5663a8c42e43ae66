import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.testmod import ktap
from harness.testmod.ktap import KtapResult, KtapStatus, parse_ktap

KUNIT = """\
[    0.0] Linux version 6.12
[    1.0] KTAP version 1
[    1.0] 1..2
[    1.0]     KTAP version 1
[    1.0]     # Subtest: list-test
[    1.0]     # module: list_test
[    1.0]     1..3
[    1.0]     ok 1 list_add
[    1.1] usb 1-1: new device, ok 7 times
[    1.1]     # list_del: EXPECTATION FAILED at lib/list-test.c:12
[    1.1]     not ok 2 list_del
[    1.1]     ok 3 list_slow # SKIP too slow here
[    1.1] # list-test: pass:1 fail:1 skip:1 total:3
[    1.1] not ok 1 list-test
[    1.2] ok 2 - hash # TODO not written
"""


def statuses(results):
    return [(item.name, item.status.value) for top in results for item in top.walk()]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_kunit_in_a_kernel_log(ending):
    results = parse_ktap(KUNIT.replace("\n", ending))
    assert statuses(results) == [
        ("list-test", "failed"),
        ("list_add", "passed"),
        ("list_del", "failed"),
        ("list_slow", "skipped"),
        ("hash", "todo"),
    ]
    assert results[0].subtests[2].reason == "too slow here"
    assert results[0].planned == 3
    assert [result.bad for result in results] == [True, False]


def test_what_the_plan_names_and_the_log_has_not_is_missing():
    (suite,) = parse_ktap("KTAP version 1\n1..1\n  1..3\n  ok 1 a\n  ok 3 c\nok 1 suite\n")
    assert [(item.number, item.status.value) for item in suite.subtests] == [
        (1, "passed"),
        (3, "passed"),
        (2, "missing"),
    ]
    assert suite.bad


def test_a_crash_inside_a_suite_leaves_the_suite_missing_with_what_it_did():
    cut = KUNIT.split("[    1.1] # list-test", maxsplit=1)[0]
    first, second = parse_ktap(cut)
    assert (first.name, first.status, len(first.subtests)) == ("list-test", KtapStatus.MISSING, 3)
    assert (second.number, second.status) == (2, KtapStatus.MISSING)


def test_two_documents_in_one_log():
    assert [top.name for top in parse_ktap("TAP version 14\n1..1\nok 1 a\n" * 2)] == ["a", "a"]


def test_without_a_version_line_nothing_is_ktap():
    assert parse_ktap("[ 1.0] ok 1 a\nnot ok 2 b\n1..4\n") == ()


def test_a_plan_of_billions_is_bounded():
    tests = parse_ktap("KTAP version 1\n1..999999999\nok 1 a\n")
    assert len(tests) == 1_002
    assert tests[-1].name == "and 999,998,998 more without a result"


def test_a_test_of_number_0_is_in_no_plan():
    assert statuses(parse_ktap("KTAP version 1\nok 0 a\n")) == [("a", "passed")]
    assert statuses(parse_ktap("KTAP version 1\n1..1\nok 0 a\n")) == [
        ("a", "passed"),
        ("", "missing"),
    ]


def test_plans_of_billions_inside_each_other_are_bounded_together():
    text = "KTAP version 1\n" + "".join(
        f"{'  ' * (n % 60)}1..999999999\n{'  ' * (n % 60)}ok 1 a\n" for n in range(3_000)
    )
    results = [each for top in parse_ktap(text) for each in top.walk()]
    # For each plan: its result, what it misses in one line, and the parent that got no result.
    assert len(results) < 3 * 3_000 + 1_000


def test_tests_inside_each_other_without_end_are_bounded():
    lines = [f"{' ' * n}1..1" for n in range(900)]
    lines += [f"{' ' * n}ok 1 a" for n in reversed(range(900))]
    level, deep = parse_ktap("KTAP version 1\n" + "\n".join(lines)), 0
    while level:
        level, deep = [below for test in level for below in test.subtests], deep + 1
    assert deep == ktap._DEPTH


def test_more_lines_than_any_test_suite_has_are_not_read_and_that_is_said(monkeypatch):
    monkeypatch.setattr(ktap, "_RESULTS", 100)
    results = parse_ktap("KTAP version 1\n" + "ok 1 a\n" * 1_000)
    assert len(results) == 100
    assert results[-1].name == "more than 100 lines of KTAP: the rest was not read"
    assert results[-1].bad


def test_what_kselftest_quotes_is_a_subtest_once_a_version_line_is_quoted():
    text = "TAP version 13\n1..1\n# ok 7 a diagnostic\n# TAP version 13\n# 1..1\n"
    text += "# # ok 8 another\n# not ok 1 inner\nnot ok 1 outer\n"
    assert statuses(parse_ktap(text)) == [("outer", "failed"), ("inner", "failed")]


NAMES = st.text("abcdefgh_", min_size=1, max_size=8)
LEAVES = st.tuples(NAMES, st.sampled_from(["passed", "failed", "skipped", "todo"]), st.just(()))
TREES = st.recursive(
    LEAVES,
    lambda children: st.tuples(
        NAMES, st.sampled_from(["passed", "failed"]), st.lists(children, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


def render(trees, indent=0):
    pad = "  " * indent
    lines = [f"{pad}KTAP version 1", f"{pad}1..{len(trees)}"]
    for number, (name, status, below) in enumerate(trees, start=1):
        lines += render(below, indent + 1) if below else []
        word = "not ok" if status in ("failed", "todo") else "ok"
        mark = {"skipped": " # SKIP", "todo": " # TODO"}.get(status, "")
        lines.append(f"{pad}{word} {number} {name}{mark}")
    return lines


def plain(result: KtapResult):
    return (result.name, result.status.value, [plain(item) for item in result.subtests])


@given(st.lists(TREES, min_size=1, max_size=4), st.sampled_from(["", "[   12.345678] ", "<6>"]))
def test_any_tree_survives_rendering_and_parsing(trees, prefix):
    text = "".join(f"{prefix}{line}\n[    1.5] usb 1-1: noise\n" for line in render(trees))
    expected = [_listed(tree) for tree in trees]
    assert [plain(result) for result in parse_ktap(text)] == expected


def _listed(tree):
    return (tree[0], tree[1], [_listed(item) for item in tree[2]])


@given(st.text())
def test_no_text_makes_it_raise(text):
    parse_ktap("KTAP version 1\n" + text)


@given(st.text(alphabet="ok not1.2#\n KTAPversion", max_size=200))
def test_no_text_near_ktap_makes_it_raise(text):
    parse_ktap("KTAP version 1\n" + text)


@pytest.mark.parametrize(
    "text", ["ok 1" * 100_000, "\n".join(" " * n + "1..2" for n in range(900))]
)
def test_hostile_documents_end(text):
    parse_ktap("KTAP version 1\n" + text)
