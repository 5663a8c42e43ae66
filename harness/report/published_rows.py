"""Compares published results, from tables in mails or small files, with a run.

`store_published` checks a file and stores it with a run; `published_rows` reads the stored files
for each page.
"""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.analysis.wording import series_name
from harness.errors import InputError
from harness.report.listing import point_text
from harness.report.rows import Effect
from harness.report.view import View
from harness.spec.document import load_document
from harness.spec.published import PublishedResults
from harness.testmod.cases import short_name
from harness.testmod.posted import Posted, parse_posted

FOLDER = "published"  # below the run's folder
_LARGEST = 4 << 20  # limit of a file in bytes
_SHOWN = 500  # limit of rows on a page
_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class PublishedRow:
    """A published change of the time, with this run's. `source`: where it was published."""

    source: str
    posted: Posted
    effect: Effect
    point: str  # pages, use_huge and loops of this run, in the format of tables

    @property
    def ratio(self) -> float:
        """The published ratio; above 1 is faster."""
        return 1 / (1 + self.posted.change)

    @property
    def other_loops(self) -> bool:
        """Whether the loops differ, which matters as short runs are less in the steady state."""
        return self.posted.loops is not None and not self.point.endswith(f" l:{self.posted.loops}")


def store_published(file: Path, folder: Path) -> int:
    """Check `file` and store it with the run in `folder`; return its number of results.

    Raises InputError if there are none, SpecError if the file is invalid.
    """
    count = len(load_published(file)[1])
    kept = folder / FOLDER / file.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not (kept.exists() and kept.samefile(file)):
        shutil.copyfile(file, kept)
    return count


def load_published(file: Path) -> tuple[str, list[Posted]]:
    """Return the source and the results of a YAML file or a text with tables.

    Raises InputError or SpecError.
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist")
    if file.stat().st_size > _LARGEST:
        raise InputError(
            f"{file}: larger than {_LARGEST >> 20} MiB\n  next: copy the table to a file"
        )
    if file.suffix in _YAML:
        found = load_document(file, PublishedResults)
        return found.source, [
            Posted(
                case=point.case,
                nr_pages=point.nr_pages,
                use_huge=point.use_huge,
                loops=point.loops,
                baseline_us=None,
                change=point.change,
                low=None,
                high=None,
                word="",
                threads=point.threads,
            )
            for point in found.points
        ]
    rows = parse_posted(file.read_text(encoding="utf-8", errors="replace"))
    if not rows:
        raise InputError(
            f"{file}: found no row of a table like `fix_size_alloc_test: p:1, h:0, l:500000 "
            "(usec) | (R) 4.20%`\n  next: docs/reference/parse.md describes the tables; a "
            "file that ends in .yaml has points (docs/reference/files.md)"
        )
    return file.name, [row for row in rows if row.change > -1]


def published_rows(view: View, folder: Path) -> tuple[list[PublishedRow], Mapping[str, int]]:
    """Return stored results with this run's, and file -> number of those without a match."""
    found: list[PublishedRow] = []
    unmatched: dict[str, int] = {}
    ours = _points(view)
    for file in sorted((folder / FOLDER).glob("*")):
        try:
            source, rows = load_published(file)
        except InputError:
            continue  # changed since it was checked and stored
        pairs = [pair for row in rows for pair in _pairs(ours, source, row)]
        matched = {id(pair.posted) for pair in pairs}
        found += pairs
        if missing := sum(id(row) not in matched for row in rows):
            unmatched[source] = missing
    return found[:_SHOWN], unmatched


def _points(view: View) -> list[tuple[Effect, str]]:
    """Return the rows of this run with a ratio, and the pages, use_huge and loops of each."""
    parameters = {job.workload: job.parameters for job in view.report.jobs}
    return [
        (effect, point_text(parameters[effect.workload]))
        for effect in view.main_effects
        if math.isfinite(effect.ratio)
    ]


def _pairs(
    ours: Sequence[tuple[Effect, str]], source: str, posted: Posted
) -> Iterator[PublishedRow]:
    for effect, point in ours:
        if posted.threads not in (None, effect.nr_threads):
            continue
        same = point.startswith(f"p:{posted.nr_pages} h:{int(posted.use_huge)} ")
        if same and short_name(effect.case) == short_name(posted.case):
            text = f"{source}, {posted.column}" if posted.column else source
            yield PublishedRow(text, posted, effect, point)


def points_of(found: Sequence[PublishedRow]) -> list[tuple[str, str, str, int, float]]:
    """Return (workload, case, kernel, threads, published ratio), for a chart over threads."""
    return [
        (
            series_name(each.effect.workload),
            each.effect.case,
            each.effect.kernel,
            each.posted.threads,
            each.ratio,
        )
        for each in found
        if each.posted.threads
    ]
