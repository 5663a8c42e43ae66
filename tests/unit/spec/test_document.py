import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError, SpecError
from harness.spec.document import Document, load_document, parse_document


class Inner(Document):
    count: int


class Outer(Document):
    version: str
    inner: Inner
    many: tuple[Inner, ...] = ()


GOOD = 'version: "6.10"\ninner:\n  count: 3\n'


def test_good():
    assert parse_document(GOOD, Outer).inner.count == 3


def test_an_unquoted_version_is_a_number_and_refused():
    with pytest.raises(SpecError, match="1: version: .*string, found 6.1"):
        parse_document("version: 6.10\ninner: {count: 1}\n", Outer)


def test_every_fault_is_listed_at_once_with_its_line():
    text = (
        'version: "1"\ninner:\n  count: lots\n  colour: red\nmany:\n  - count: 1\n  - count: no\n'
    )
    with pytest.raises(SpecError) as caught:
        parse_document(text, Outer, "file.yaml")
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "file.yaml:3",
        "file.yaml:4",
        "file.yaml:7",
    ]
    assert "inner.colour" in lines[1]


@pytest.mark.parametrize(
    "text",
    [
        "- a\n",
        "",
        "a: [\n",
        "a: 1\na: 2\n",
        "!!python/object/apply:os.system ['id']\n",
        "a: &a [*a]\n",
        "a: !!set b\n",
    ],
)
def test_what_is_no_good_mapping_is_refused(text):
    with pytest.raises(SpecError):
        parse_document(text, Outer)


@pytest.mark.parametrize(
    "key", ["? [a, b]\n", "? {a: b}\n", "2001-01-01", "!!binary YQ==", "!odd a", "~", "1e400"]
)
def test_a_key_that_json_has_none_like_is_an_unknown_one(key):
    with pytest.raises(SpecError, match="Extra inputs are not permitted"):
        parse_document(f"{key}: 1\ncount: 1\n", Outer)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot read .*nothing.yaml"):
        load_document(tmp_path / "nothing.yaml", Outer)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        load_document(tmp_path / "x.yaml", Outer)


@given(st.text(max_size=100))
def test_any_text_is_a_document_or_an_input_error(text):
    with contextlib.suppress(InputError):
        parse_document(text, Outer)


class Numbers(Document):
    share: float = 0.0
    many: tuple[tuple[int, ...], ...] = ()


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e999"])
def test_a_number_without_an_end_is_refused(value):
    with pytest.raises(SpecError, match="1: share: .*finite"):
        parse_document(f"share: {value}\n", Numbers)


def test_aliases_that_stand_for_billions_of_values_are_refused():
    text = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for level in range(1, 6):  # 9 to the 6th; without the limit it must end, too
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        text += f"a{level}: &a{level} [{aliases}]\n"
    with pytest.raises(SpecError, match=r"more than 100,000 values.*aliases"):
        parse_document(text, Numbers)


def test_an_alias_is_good_to_say_a_thing_twice():
    assert parse_document("many: [&a [1, 2], *a]\n", Numbers).many == ((1, 2), (1, 2))


def test_a_file_that_nobody_wrote_by_hand_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "x.yaml").write_text("a: 1\n" * 30_000)
    with pytest.raises(InputError, match="larger than"):
        load_document(tmp_path / "x.yaml", Outer)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{git: ../linux}", "k.yaml:2: source.git.ref: Field required"),
        ("{gitt: x}", "k.yaml:2: source: expected one of the keys debian, tarball, url, git, tree"),
        ("{git: x, ref: y, tree: z}", "k.yaml:2: source: expected one of the keys debian, "),
        (
            "foo",
            "k.yaml:2: source: expected one of the keys debian, tarball, url, git, tree, found ",
        ),
    ],
)
def test_one_fault_of_a_source_is_told_once(tmp_path, source, words):
    from harness.spec.kernel import load_kernel_spec

    (tmp_path / "k.yaml").write_text(f"version: 1\nsource: {source}\nfragments: [a.config]\n")
    with pytest.raises(SpecError) as caught:
        load_kernel_spec("k", tmp_path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
