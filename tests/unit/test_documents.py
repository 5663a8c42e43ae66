"""What the documents name exists: links, and paths of this repository."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DOCUMENTS = [TOP / "README.md", *sorted(TOP.glob("docs/**/*.md"))]
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
