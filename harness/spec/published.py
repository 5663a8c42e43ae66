"""Files with published results of others, shown beside one's own on a page."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.spec.document import Document

Words = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,200}\Z")]


class PublishedPoint(Document):
    """One result, given as `ratio` or as `change_percent`."""

    case: Annotated[str, Field(pattern=r"^(whole load|[a-z]\w{0,60})\Z")]
    """A case of the module, or the whole load. Example: `fix_size`"""
    nr_pages: Annotated[int, Field(ge=1, le=1 << 20)] = 1
    """The module's parameter of that name. Example: `16`"""
    use_huge: bool = False
    """The module's parameter of that name. Example: `true`"""
    loops: Annotated[int, Field(ge=1)] | None = None
    """Loops of each worker, if known. Example: `500000`"""
    threads: Annotated[int, Field(ge=1, le=1 << 16)] | None = None
    """Number of workers; if not given, any number matches. Example: `64`"""
    ratio: Annotated[float, Field(gt=0, lt=1e6)] | None = None
    """Time before divided by time after: above 1 is faster. Example: `12.69`"""
    change_percent: Annotated[float, Field(gt=-100, lt=1e6)] | None = None
    """Change of the time: below 0 is faster. Example: `-10.02`"""

    @model_validator(mode="after")
    def _one_figure(self) -> "PublishedPoint":
        if (self.ratio is None) == (self.change_percent is None):
            raise ValueError("expected either ratio or change_percent")
        return self

    @property
    def change(self) -> float:
        """Relative change of the time: below 0 is faster."""
        return 1 / self.ratio - 1 if self.ratio else (self.change_percent or 0.0) / 100


class PublishedResults(Document):
    """The results of one publication."""

    version: Literal[1]
    """Version of the format. Example: `1`"""
    source: Words
    """Where it was published, for readers. Example: `cover letter of "Mitigate a vmap lock
    contention v3"`
    """
    points: Annotated[tuple[PublishedPoint, ...], Field(min_length=1, max_length=10_000)]
    """The results. Example: `[{case: whole load, threads: 64, ratio: 12.69}]`"""
