"""The state between nightly runs: a JSON file that is replaced atomically.

The results are in the store; the state has the unfinished jobs and the notices that were made. A
process that is killed leaves the old file or the new one, and every step can be repeated.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.files import replace_file
from harness.text import one_line, storable, visible

VERSION = 2
_NIGHTS = 400  # records kept in the file


# Printable ASCII without "=?", which begins an encoded word (RFC 2047) that mail libraries decode.
_MESSAGE_ID = re.compile(r"(?!.*=\?)[!-;=?-~]{1,400}@[!-;=?-~]{1,400}")


@dataclass
class NightlyRecord:
    """A nightly run. `began`, `ended`: ISO times, `ended` empty while it runs; `summary`: one line.

    `uptime_s`, `boot_id`: of the machine when the run began, as in `Clock`.
    """

    date: str
    began: str
    ended: str = ""
    summary: str = ""
    done: list[str] = field(default_factory=list)  # keys of its finished jobs
    failures: dict[str, str] = field(default_factory=dict)  # where -> error message
    worse: bool = False  # whether it found something slower or broken
    news: int = 0  # number of its notices
    uptime_s: float = 0.0
    boot_id: str = ""


@dataclass
class Claim:
    """A difference in one run that a second one has to confirm before it is reported.

    `run_id`: of the first run, in the nightly run of the date `night`; `words`: "slower", "faster"
    or "slower and faster"; `tries`: number of inconclusive second runs.
    """

    run_id: str
    night: str
    words: str
    tries: int = 0


@dataclass
class PairRecord:
    """A candidate on a playbook. `revision`: the last one measured completely, on date `night`.

    `begun`: playbook text of the unfinished run of `begun_revision`, or empty. `claim`: difference
    that a second run of `revision` has to confirm.
    """

    revision: str = ""
    night: str = ""
    nights: int = 0  # number of nightly runs that measured this revision
    elapsed_s: float = 0.0  # of the last run
    waiting_since: str = ""  # date of the first run that did not finish it
    begun: str = ""
    begun_revision: str = ""
    claim: Claim | None = None


@dataclass
class Notice:
    """A notice to deliver. `page`: path below the reports; `to`: channels it is not yet sent to."""

    key: str
    title: str
    text: str
    date: str
    page: str = ""
    worse: bool = False
    message_id: str = ""  # of the mail that it answers
    to: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Sanitise text from mail, kernels and trees for headers, files and JSON."""
        self.key = storable(self.key)
        self.title = one_line(self.title, 200).replace("=?", "= ?")  # no encoded word of RFC 2047
        self.text = visible(self.text)
        if not _MESSAGE_ID.fullmatch(self.message_id):
            self.message_id = ""


@dataclass
class NightlyState:
    """The state of the nightly runs of one nightly file, stored at `path`."""

    path: Path
    nights: list[NightlyRecord] = field(default_factory=list)
    pairs: dict[str, PairRecord] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)  # candidate -> commit to diff against
    tips: dict[str, str] = field(default_factory=dict)  # branch candidate -> last commit measured
    reported: dict[str, str] = field(
        default_factory=dict
    )  # key of a notice -> the date of the run that made it
    outbox: list[Notice] = field(default_factory=list)
    gates: dict[str, str] = field(default_factory=dict)  # kernel|contents -> failed checks, or ""

    def save(self) -> None:
        """Write the file atomically and durably (fsync)."""
        kept = vars(self) | {"version": VERSION, "nights": self.nights[-_NIGHTS:]}
        kept["gates"] = dict(list(self.gates.items())[-_NIGHTS:])
        del kept["path"]
        replace_file(self.path, json.dumps(kept, default=vars), durable=True)


def load_state(path: Path) -> NightlyState:
    """Return the state at `path`, or a new one. Raises InputError for an invalid file."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NightlyState(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read the state of the nightly runs: {error}") from error
    if not isinstance(kept, dict) or kept.pop("version", None) != VERSION:
        raise InputError(
            f"{path}: expected version {VERSION} of the state; move the file away to start over"
        )
    return NightlyState(
        path,
        [NightlyRecord(**night) for night in kept["nights"]],
        {key: _pair(pair) for key, pair in kept["pairs"].items()},
        kept["anchors"],
        kept["tips"],
        kept["reported"],
        [_notice(notice) for notice in kept["outbox"]],
        kept.get("gates", {}),
    )


def _pair(kept: dict[str, Any]) -> PairRecord:
    claim = kept.pop("claim", None)
    return PairRecord(**kept, claim=Claim(**claim) if claim else None)


def _notice(kept: dict[str, Any]) -> Notice:
    return Notice(**kept)
