"""What the documents name exists (links, paths of this repository), and text has 100 columns."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DOCUMENTS = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted(TOP.glob("docs/**/*.md"))]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)")
PATH = re.compile(
    r"(?<![\w./-])((?:benchmarks|docs|harness|kernels|playbooks|setup|tests)/[\w./-]*\w)(?![\w{*]|/[*{<])"
)
YOURS = re.compile(r"/[A-Z]+\b|^playbooks/hosts\b")  # what a reader is to name or to write


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    paths = [path for path in PATH.findall(text) if not YOURS.search(path)]
    missing += [path for path in paths if not (TOP / path).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_text_has_100_columns(document):
    """But for rows of tables and what is shown as printed; generated lists are one line an item."""
    if document.name in {"commands.md", "files.md"}:
        return
    lines = document.read_text(encoding="utf-8").splitlines()
    long = [
        f"{number}: {line}"
        for number, line in enumerate(lines, start=1)
        if len(line) > 100 and not line.startswith(("|", "    "))
    ]
    assert long == []
