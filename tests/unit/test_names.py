"""One name means one thing, and names, messages and comments keep to the field's own words."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

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
