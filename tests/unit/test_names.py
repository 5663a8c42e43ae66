"""Names are unique, and names, messages and comments use the field's standard terms."""

import ast
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARNESS = sorted((ROOT / "harness").rglob("*.py"))


def defined_twice(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the class names that several places define, with these places (file:line)."""
    places: dict[str, list[str]] = defaultdict(list)
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{name}:{node.lineno}")
    return {name: found for name, found in places.items() if len(found) > 1}


def text_of(files: list[Path]) -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def test_every_class_name_of_the_package_is_defined_once() -> None:
    assert defined_twice(text_of(HARNESS)) == {}


def test_a_class_name_that_two_modules_define_is_found() -> None:
    texts = {"a.py": "class Step:\n    pass\n", "b.py": "\n\nclass Step(Base):\n    pass\n"}
    assert defined_twice(texts) == {"Step": ["a.py:1", "b.py:3"]}
    assert defined_twice({"a.py": texts["a.py"]}) == {}


def variables_called_words(texts: Mapping[str, str]) -> list[str]:
    """Return where a variable or parameter is named `words`, which does not say what it holds."""
    return [
        f"{name}:{node.lineno}"
        for name, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.arg) and node.arg == "words")
        or (isinstance(node, ast.Name) and node.id == "words" and isinstance(node.ctx, ast.Store))
    ]


def test_variables_are_called_what_they_hold() -> None:
    found = {place.split(":")[0] for place in variables_called_words(text_of(HARNESS))}
    assert found == {"harness/nightly/state.py"}  # a key of the state that is kept in files
    places = variables_called_words({"a.py": "def f(words): ...\nwords = 1\nwords()"})
    assert sorted(places) == ["a.py:1", "a.py:2"]


# Pattern -> replacement. Patterns match whole words, ignoring case, in names (which are split at
# `_` and capitals), comments, docstrings and messages.
NOT_OURS = {
    r"mend|mended": "fix",
    r"heed|heeded": "obey, apply",
    r"dead line": "deadline",
    r"way home|(bring|come|go|send)(ing|s)? (it )?home": "return to the known-good kernel",
    r"last words": "panic log, last lines",
    r"house-?keep(ing)?|keep house": "garbage collection",
    r"seize|only one alone": "lock",
    r"curfew": "deadline",
    r"patient|patiently|patience": "wait, timeout",
    r"strangers?": "others",
    r"kin|heir": "related, ancestor",
    r"dear": "expensive",
    r"told apart|foretold": "distinguished, predicted",
    r"told": "reported, given",
    r"doors?": "the one module for something",
    r"way out": "remedy",
    r"nobody hears|unheard": "not reported",
    r"(?<=, )in words": "as text",
    r"for ever": "forever",
    r"tonight": "in this run",
    r"tether": "parent-death signal",
}
OTHERS = re.compile(rf"(?<!\w)(?:{'|'.join(NOT_OURS)})\b", re.IGNORECASE)


def words_of(text: str) -> str:
    """Return Python source with its names split into words."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", text)


def found_in(texts: Mapping[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {match[0]}"
        for name, text in texts.items()
        for number, line in enumerate(words_of(text).splitlines(), start=1)
        for match in OTHERS.finditer(line)
    ]


def test_the_package_keeps_to_standard_terms() -> None:
    assert found_in(text_of(HARNESS)) == [], NOT_OURS


@pytest.mark.parametrize(
    "text",
    [
        "def bring_home(): ...",
        "class Curfew: ...",
        "# nobody has been told",
        '"the plan, in words"',
    ],
)
def test_a_word_of_no_standard_is_found(text: str) -> None:
    assert len(found_in({"a.py": text})) == 1
    assert found_in({"a.py": 'for word in known:  # a doorway, "ForeverYoung"'}) == []
