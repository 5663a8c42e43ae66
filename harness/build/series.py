"""Groups mails into series; what is measured is exactly what somebody sent, or nothing.

b4 parses the mails (harness.build.mail), but treats a thread as one series. They are grouped here,
by sender, thread, version and count. An ambiguous series has a fault. Every mail is accounted for.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.build.mail import (
    Facts,
    Mail,
    NotUnderstoodError,
    plain_mail,
    read_mail,
    series_facts,
)
from harness.build.mailbox import RawMail, read_mailbox
from harness.errors import InputError
from harness.process import Runner

# Message ids of git send-email: one stamp for all mails of a call, then their number.
_STAMP = re.compile(r"(\d{14}\.\d+)-\d+-")


@dataclass(frozen=True)
class Patch:
    """One patch. `name`: its file, or its number in the series; `title`: one printable line.

    `mail`: author, date, subject and text as one plain mail in mbox form; the bytes of the diff are
    unchanged. `strip`: as in `patch -pN`.
    """

    name: str
    title: str
    mail: bytes
    strip: int = 1


@dataclass(frozen=True)
class PatchSeries:
    """A series of patches. `key`: identifies it across versions.

    `base_commit`: an id, possibly abbreviated, or empty; `message_id`: the mail that a reply refers
    to; `members`: ids of its mails, all versions; `prerequisites`: patch ids that it depends on;
    `fault`: why it is incomplete or ambiguous; `notes`: remarks for the user.
    """

    key: str
    title: str
    author: str
    patches: tuple[Patch, ...]
    version: int = 1
    base_commit: str = ""
    message_id: str = ""
    fault: str = ""
    members: frozenset[str] = frozenset()
    prerequisites: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mailbox:
    """All mails of a mailbox. `series`: the newest version of each, in the order of the mails.

    `superseded`: older versions; `replies`: their number; `odd`: subjects of mails that were not
    understood, with the reason.
    """

    series: tuple[PatchSeries, ...]
    superseded: tuple[str, ...] = ()
    replies: int = 0
    odd: tuple[str, ...] = ()


@dataclass
class _Draft:
    """Mails of one version of a series. `order`: position of its first mail in the mailbox."""

    mails: list[Mail]
    version: int
    order: int
    doubt: str = ""

    @property
    def cover(self) -> Mail | None:
        return next((mail for mail in self.mails if mail.number == 0), None)

    @property
    def patches(self) -> list[Mail]:
        found = [mail for mail in self.mails if mail.number != 0]
        return sorted(found, key=lambda mail: mail.number or 1)

    @property
    def first(self) -> Mail:
        return self.cover or self.patches[0]

    @property
    def titles(self) -> set[str]:
        return {mail.title for mail in self.mails}


def load_mailbox(path: Path, runner: Runner) -> Mailbox:
    """Return the series in a mailbox file or maildir. Raises InputError if it is neither."""
    return group_mails(read_mailbox(path), runner)


def group_mails(raw: Iterable[RawMail], runner: Runner) -> Mailbox:
    """Return the series among `raw`, and account for every other mail."""
    mails: dict[str, Mail] = {}
    odd: list[str] = []
    replies = 0
    for one in raw:
        try:
            mail = read_mail(one)
        except NotUnderstoodError as error:
            odd.append(str(error))
            continue
        if mail.message_id in mails:
            continue  # the same mail, received through two lists
        if mail.is_reply:
            replies += 1
            if mail.has_diff:
                odd.append(f"{mail.subject!r}: a patch in a reply")
        elif not mail.has_diff and mail.number != 0:
            odd.append(f"{mail.subject!r}: neither a patch nor a cover nor a reply")
        else:
            mails[mail.message_id] = mail
    newest: list[tuple[int, PatchSeries]] = []
    superseded: list[str] = []
    for key, line in _lines(_drafts(mails)).items():
        *older, last = sorted(line, key=lambda draft: (draft.version, draft.first.date))
        superseded += [f"v{draft.version} of {draft.first.title!r}" for draft in older]
        newest.append((last.order, _series(key, [*older, last], runner)))
    series = tuple(one for _, one in sorted(newest, key=lambda pair: pair[0]))
    return Mailbox(series, tuple(superseded), replies, tuple(odd))


def _drafts(mails: Mapping[str, Mail]) -> list[_Draft]:
    """Return the versions of series; each mail is in one of them."""
    threads = _Threads(mails)
    order = {identifier: place for place, identifier in enumerate(mails)}
    groups: dict[tuple[object, ...], list[Mail]] = defaultdict(list)
    for mail in mails.values():
        groups[mail.sender, threads.version(mail), mail.total, *threads.anchor(mail)].append(mail)
    drafts = []
    for (_, version, _, kind, *_), group in groups.items():
        parts = _in_turn(group) if kind == "unthreaded" else [group]
        clear = parts is not None
        for part in parts or [group]:
            kept, doubt = _without_duplicates(part)
            if not clear:
                doubt = "several series without threads, whose patches cannot be assigned"
            first = min(order[mail.message_id] for mail in part)
            drafts.append(_Draft(kept, int(str(version)), first, doubt))
    return drafts


class _Threads:
    """Finds the first mail of the version of a series to which a mail belongs."""

    def __init__(self, mails: Mapping[str, Mail]):
        self._mails = mails
        self._answered = {parent for mail in mails.values() for parent in mail.parents}
        self._versions = {mail.message_id: self._version(mail) for mail in mails.values()}
        self._anchors: dict[str, tuple[str, str]] = {}

    def version(self, mail: Mail) -> int:
        """Return the version in a mail's subject, or that of the cover letter above it."""
        return self._versions[mail.message_id]

    def _version(self, mail: Mail) -> int:
        if mail.version is None and mail.number:
            for parent in self._related(mail):
                if parent.number == 0 and parent.version is not None:
                    return parent.version
        return mail.version or 1

    def anchor(self, mail: Mail) -> tuple[str, str]:
        """Return a key that is the same for all mails of a version, and for no other mail."""
        chain: dict[str, Mail] = {}
        here: Mail | None = mail
        while (
            here and here.message_id not in chain and here.message_id not in self._anchors
        ):  # a thread may be circular
            chain[here.message_id] = mail = here
            here = self._above(here)
        known = self._anchors.get(here.message_id) if here else None
        found = known or self._root(mail)
        self._anchors |= dict.fromkeys(chain, found)
        return found

    def _above(self, mail: Mail) -> Mail | None:
        """Return the nearest mail of the same version above this one."""
        if not mail.number:
            return None
        version = self.version(mail)
        return next(
            (related for related in self._related(mail) if self.version(related) == version), None
        )

    def _root(self, mail: Mail) -> tuple[str, str]:
        """Return the anchor of the first mail of a version."""
        if mail.number is None or (mail.number == 0 and mail.message_id in self._answered):
            return "mail", mail.message_id
        unknown = next((parent for parent in mail.parents if parent not in self._mails), "")
        if unknown:
            return "below", unknown
        if mail.message_id in self._answered and mail.number == 1:
            return "mail", mail.message_id
        if mail.parents:
            return "below", mail.parents[0]
        stamp = _STAMP.match(mail.message_id)
        return "unthreaded", stamp[1] if stamp else ""

    def _related(self, mail: Mail) -> Iterable[Mail]:
        """Yield the mails above this one with the same sender and count, the nearest first."""
        for identifier in mail.parents:
            parent = self._mails.get(identifier)
            if (
                parent
                and parent.number is not None
                and (parent.sender, parent.total) == (mail.sender, mail.total)
            ):
                yield parent


def _in_turn(group: Sequence[Mail]) -> list[list[Mail]] | None:
    """Return the series in a group that were sent one after the other, None if they overlap."""
    parts: list[list[Mail]] = []
    sent = any(mail.sender for mail in group)  # otherwise the dates are those of commits
    for mail in sorted(group, key=lambda mail: mail.date) if sent else group:
        numbers = {other.number for other in parts[-1]} if parts else {mail.number}
        if mail.number in numbers:
            if parts and len(numbers - {0}) < mail.total:
                return None
            parts.append([])
        parts[-1].append(mail)
    return parts


def _without_duplicates(mails: Sequence[Mail]) -> tuple[list[Mail], str]:
    """Return the latest mail of each number, and why that may be wrong (or empty)."""
    kept: dict[int, Mail] = {}
    doubt = ""
    for mail in sorted(mails, key=lambda mail: mail.date):
        number = 1 if mail.number is None else mail.number
        if number in kept and kept[number].title != mail.title:
            both = f"{kept[number].title!r} and {mail.title!r}"
            doubt = doubt or f"two mails are number {number} of {mail.total}: {both}"
        kept[number] = mail
    return list(kept.values()), doubt


def _lines(drafts: Sequence[_Draft]) -> dict[str, list[_Draft]]:
    """Return the versions of each series, the oldest first, by its key."""
    by_mail = {mail.message_id: draft for draft in drafts for mail in draft.mails}
    by_titles: dict[tuple[object, ...], str] = {}
    lines: dict[str, list[_Draft]] = {}
    for draft in sorted(drafts, key=lambda draft: (draft.first.date, draft.order)):
        alike = (draft.first.sender, draft.version, frozenset(draft.titles))
        again = by_titles.get(alike)  # a resend is the same series
        key = again or _origin(draft, by_mail)
        if not again and draft.version in {other.version for other in lines.get(key, ())}:
            key = f"{key} {draft.first.message_id}"
        by_titles[alike] = key
        lines.setdefault(key, []).append(draft)
    return lines


def _origin(draft: _Draft, by_mail: Mapping[str, _Draft]) -> str:
    """Return the key of a series: its sender, and its change-id or first mail.

    For mails that were not sent it is the title of the first patch.
    """
    first = draft.first
    if not first.sender:  # made by a tool, with new message ids each time
        return f" {(draft.patches or [first])[0].title}"
    if change_id := _facts(draft).change_id:
        return f"{first.sender} {change_id}"
    if draft.version == 1:
        return f"{first.sender} {first.message_id}"
    for parent in first.parents:
        older = by_mail.get(parent)
        if older and older.first.sender == first.sender and older.version < draft.version:
            return _origin(older, by_mail)
    return f"{first.sender} {(first.parents or (first.message_id,))[-1]}"


def _facts(draft: _Draft) -> Facts:
    mails = [*([draft.cover] if draft.cover else []), *draft.patches]
    return series_facts(mails, draft.version, draft.first.total)


def _series(key: str, line: Sequence[_Draft], runner: Runner) -> PatchSeries:
    """Return the newest version of a series, the last in `line`."""
    last = line[-1]
    facts, first = _facts(last), last.first
    missing = ", ".join(map(str, facts.missing))
    fault = last.doubt or (f"patch {missing} of {first.total} is missing" if missing else "")
    if not last.patches:
        older = f"; the newest whole version here is v{line[-2].version}" if line[1:] else ""
        fault = f"only the cover of v{last.version} is here{older}"
    patches: list[Patch] = []
    for mail in last.patches if not fault else []:
        name = f"{mail.number or 1}/{mail.total}"
        try:
            patches.append(Patch(name, mail.title, plain_mail(mail.raw, runner)))
        except InputError as error:
            fault = f"patch {name} ({mail.title!r}): {error}"
            break
    return PatchSeries(
        key=key,
        title=first.title,
        author=first.author,
        patches=tuple(patches),
        version=last.version,
        base_commit=facts.base_commit,
        message_id=first.message_id,
        fault=fault,
        members=frozenset(mail.message_id for draft in line for mail in draft.mails),
        prerequisites=facts.prerequisites,
    )


def kernel_name(series: PatchSeries) -> str:
    """Return a name for a series of a mailbox that is the same for all its versions.

    It is short, for tables in mails, and contains no title, since titles change.
    """
    who = series.key.strip().partition("@")[0]
    slug = re.sub(r"[^a-z0-9]+", "-", who.lower()).strip("-")[:14].strip("-")
    digest = hashlib.sha256(series.key.encode("utf-8", "replace")).hexdigest()[:6]
    return f"{slug or 'series'}-{digest}"
