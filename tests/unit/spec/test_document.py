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
    ],
)
def test_what_is_no_good_mapping_is_refused(text):
    with pytest.raises(SpecError):
        parse_document(text, Outer)


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
