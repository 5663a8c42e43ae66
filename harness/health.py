"""Results of checking a machine (this one or a lab host): one row per check."""

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """`WARN`: optional, slow, or needs attention at some time; `FAIL`: no boot could succeed."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Row:
    """One check: `what` was checked, what was `found`. `remedy`: what to do; empty when fine."""

    what: str
    health: Health
    found: str
    remedy: str = ""

    @property
    def bad(self) -> bool:
        """Whether it prevents a run."""
        return self.health is Health.FAIL
