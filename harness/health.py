"""What a look at a machine gave, a row a thing: of this machine, or of a lab host."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """`WARN`: optional, slow, or in need of a hand one day; `FAIL`: no boot could succeed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. `remedy`: what to do, empty when all is well."""

    what: str
    health: Health
    found: str
    remedy: str = ""

    @property
    def bad(self) -> bool:
        """Whether it forbids a run."""
        return self.health is Health.FAIL
