"""`$` admits a newline after it: patterns of single values end with \\Z, or are full matches."""

import ast
from pathlib import Path

HARNESS = Path(__file__).parents[2] / "harness"
_CALLS = ("compile", "match", "search", "Field", "StringConstraints")


def faults(source):
    """Return the lines of patterns that end with `$` and are not for a text of many lines."""
    found = []
    if "$" not in source:
        return found
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        words = ast.unparse(call)
        if name not in _CALLS or "MULTILINE" in words or "re.M" in words:
            continue
        texts = [
            node.value
            for node in ast.walk(call)
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ]
        ends = ("$", "$)") if all(isinstance(text, str) for text in texts) else (b"$", b"$)")
        found += [
            call.lineno for text in texts if isinstance(text, type(ends[0])) and text.endswith(ends)
        ]
    return found


def test_no_pattern_admits_a_newline_at_its_end():
    files = sorted(HARNESS.rglob("*.py"))
    assert {file.name: lines for file in files if (lines := faults(file.read_text()))} == {}


def test_they_are_found():
    assert faults('re.compile(r"^[a-z]+$")\nField(pattern=r"^a$")\nre.compile(b"x$")') == [1, 2, 3]
    assert faults('re.compile(r"^a$", re.MULTILINE)\nre.compile(r"^a\\Z")') == []
