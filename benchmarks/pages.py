"""Writes the parts of pages that a benchmark makes."""

from pathlib import Path


def write_between(page: Path, begin: str, end: str, body: str) -> None:
    """Replace what stands between the marks `begin` and `end` of `page` by `body`."""
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    text = f"{head}{begin}\n\n{body}\n{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")
