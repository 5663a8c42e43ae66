"""Patches as people send and keep them: mailboxes, maildirs, folders with quilt's `series`.

Mail is untrusted. Everything here is text in, values out: no program runs, no file is written, and
what a mail says of itself (names, subjects, dates) is reduced to printable single lines. What
`git am` gets is not the mail but a plain one made of its text; see `Patch.mail`.
"""

import email.header
import email.utils
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path

from harness.errors import InputError
from harness.text import one_line

MAIL_LIMIT = 8 << 20  # bytes; the largest patch mails on the lists are below 1 MiB

_FROM_LINE = re.compile(rb"^From \S+ .*\d\d:\d\d:\d\d.* \d{4}\s*$")  # of mbox; dates the mail
_DIFF = re.compile(rb"^(?:diff --git \S|--- \S[^\n]*\n\+\+\+ \S)", re.MULTILINE)
_BASE = re.compile(rb"^base-commit: ([0-9a-f]{40})\s*$", re.MULTILINE)
_TAGS = re.compile(r"^\s*((?:\[[^]]*\]\s*)*)")
_NUMBER = re.compile(r"\b(\d{1,3})/(\d{1,3})\b")
_VERSION = re.compile(r"\bv(\d{1,3})\b", re.IGNORECASE)
_REPLY = re.compile(r"^\s*(?:re|aw|fwd?|sv)\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Patch:
    """One patch. `name`: its file, or its number in the series; `title`: one printable line.

    `mail`: author, date, subject and text as one plain mail in mbox form, whatever the original was
    wrapped in; the bytes of the diff are those of the sender. `strip`: as in `patch -pN`.
    """

    name: str
    title: str
    mail: bytes
    strip: int = 1


@dataclass(frozen=True)
class Series:
    """Patches that belong together. `key`: message id of its thread, or where it was found.

    `base_commit`: of its trailer, or empty; `message_id`: what a reply answers; `fault`: why it is
    not whole.
    """

    key: str
    title: str
    author: str
    patches: tuple[Patch, ...]
    version: int = 1
    base_commit: str = ""
    message_id: str = ""
    fault: str = ""


@dataclass(frozen=True)
class _Mail:
    """What matters of one mail. `number` is None for a patch that is alone, 0 for a cover."""

    message_id: str
    references: tuple[str, ...]
    sender: str
    author: str
    date: datetime
    title: str
    version: int
    number: int | None
    total: int
    text: bytes  # of the part that has the diff, else of the first

    @property
    def has_diff(self) -> bool:
        return bool(_DIFF.search(self.text))


def load_mbox(path: Path) -> list[Series]:
    """Return the series in a mailbox file, in the order of their first mails."""
    return group_series(parse_mails(split_mbox(_read(path))))


def load_maildir(folder: Path) -> list[Series]:
    """Return the series in a maildir; nothing in it is moved or marked as read."""
    if not any((folder / part).is_dir() for part in ("cur", "new")):
        raise InputError(f"{folder}: no maildir: it has neither a folder cur nor new")
    files = sorted(path for part in ("cur", "new") for path in (folder / part).glob("*"))
    return group_series(parse_mails(_read(path) for path in files if path.is_file()))


def load_patches(folder: Path) -> Series:
    """Return the patches of a folder: in the order of quilt's `series`, else of their names.

    Raises InputError where a patch is not there, lies elsewhere, or has no diff.
    """
    listed = _quilt_entries(folder) if (folder / "series").is_file() else _sorted_entries(folder)
    if not listed:
        raise InputError(f"{folder}: found no patch; expected a file series, or *.patch and *.diff")
    patches, base, authors = [], "", []
    for name, strip in listed:
        text = _read(_inside(folder, name))
        parsed = _parse_mail(text) if re.match(rb"(?i)(from|subject|date)[ :]", text) else None
        mail = parsed or _without_mail(name, text)
        if not mail.has_diff:
            raise InputError(f"{folder / name}: found no diff in it")
        base = base or _base_of([mail])
        authors.append(mail.author)
        patches.append(Patch(name, mail.title, _plain_mail(mail), strip))
    where = str(folder.absolute())
    return Series(where, patches[0].title, authors[0], tuple(patches), base_commit=base)


def split_mbox(content: bytes) -> Iterator[bytes]:
    """Yield the mails of a mailbox file, without their `From ` lines; `>From` is unquoted."""
    mail: list[bytes] = []
    for line in content.splitlines(keepends=True):
        if _FROM_LINE.match(line):
            if mail:
                yield b"".join(mail)
            mail = []
        else:
            mail.append(line[1:] if re.match(rb">+From ", line) else line)
    if mail:
        yield b"".join(mail)


def group_series(mails: Iterable[_Mail]) -> list[Series]:
    """Return the series among `mails`: by thread and sender, of each the newest version alone."""
    groups: dict[tuple[str, ...], list[_Mail]] = {}
    known = [mail for mail in mails if mail.has_diff or mail.number == 0]
    threads = {mail.references[0] for mail in known if mail.references}
    for mail in known:
        root = mail.references[0] if mail.references else mail.message_id
        alone = not mail.references and mail.number and mail.message_id not in threads
        key = (mail.sender, str(mail.version), str(mail.total)) if alone else (mail.sender, root)
        groups.setdefault(key, []).append(mail)
    found = [_newest(group) for group in groups.values()]
    return [series for series in found if series.patches]


def _newest(mails: Sequence[_Mail]) -> Series:
    version = max(mail.version for mail in mails)
    ours = sorted((mail for mail in mails if mail.version == version), key=lambda mail: mail.date)
    numbered = {mail.number or 1: mail for mail in ours if mail.has_diff}  # a resend replaces
    total = max(mail.total for mail in ours)
    missing = [str(number) for number in range(1, total + 1) if number not in numbered]
    cover = next((mail for mail in ours if mail.number == 0), None)
    first = cover or numbered[min(numbered)]
    patches = tuple(
        Patch(f"{number}/{total}", mail.title, _plain_mail(mail))
        for number, mail in sorted(numbered.items())
    )
    fault = f"patch {', '.join(missing)} of {total} is missing" if missing else ""
    root = first.references[0] if first.references else first.message_id
    return Series(
        key=root,
        title=first.title,
        author=first.author,
        patches=patches,
        version=version,
        base_commit=_base_of(ours),
        message_id=first.message_id,
        fault=fault,
    )


def _base_of(mails: Iterable[_Mail]) -> str:
    found = (_BASE.search(mail.text) for mail in mails)
    return next((match[1].decode() for match in found if match), "")


def parse_mails(texts: Iterable[bytes]) -> Iterator[_Mail]:
    """Yield what matters of each mail that is no reply and holds text."""
    for text in texts:
        if (mail := _parse_mail(text)) and not _REPLY.match(mail.title):
            yield mail


def _parse_mail(text: bytes) -> _Mail | None:
    """Return what matters of a mail, or None when it holds no text."""
    message = BytesParser(policy=compat32).parsebytes(re.sub(rb"\AFrom [^\n]*\n", b"", text))
    subject = one_line(_header(message, "Subject"), 200)
    tags = _TAGS.match(subject)
    tag = tags[1] if tags else ""
    number, version = _NUMBER.search(tag), _VERSION.search(tag)
    body = _text_of(message)
    if body is None:
        return None
    name, address = email.utils.parseaddr(_header(message, "From").replace("\n", " "))
    author = re.sub(r"[<>\"\\]", "", one_line(name, 200)).strip() or "Unknown"
    address = (
        address if re.fullmatch(r"[^\s<>]+@[^\s<>]+", one_line(address, 200)) else "unknown@invalid"
    )
    identifiers = re.findall(r"<([^<>\s]{1,500})>", _header(message, "Message-ID"))
    references = _header(message, "References") + " " + _header(message, "In-Reply-To")
    title = subject if _REPLY.match(subject) else subject[len(tag) :].strip() or subject
    return _Mail(
        message_id=identifiers[0] if identifiers else f"{address} {title}",
        references=tuple(re.findall(r"<([^<>\s]{1,500})>", references)),
        sender=address,
        author=f"{author} <{address}>",
        date=_date(_header(message, "Date")),
        title=title or "without a subject",
        version=int(version[1]) if version else 1,
        number=int(number[1]) if number else None,
        total=int(number[2]) if number else 1,
        text=body,
    )


def _without_mail(name: str, text: bytes) -> _Mail:
    """Return a bare diff, as quilt keeps them, as if it had been sent."""
    date = datetime.fromtimestamp(0, UTC)
    unknown = "Unknown <unknown@invalid>"
    return _Mail(name, (), unknown, unknown, date, one_line(name, 200), 1, None, 1, _unix(text))


def _plain_mail(mail: _Mail) -> bytes:
    """Return a mail that has nothing to misunderstand: four headers, and text of 8 bits."""
    start = match.start() if (match := _DIFF.search(mail.text)) else len(mail.text)
    words, diff = mail.text[:start].decode("utf-8", "replace"), mail.text[start:]
    headers = [
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001",
        f"From: {mail.author}",
        f"Date: {email.utils.format_datetime(mail.date)}",
        f"Subject: [PATCH] {mail.title}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    body = words.encode() + diff
    return "\n".join(headers).encode() + b"\n\n" + body + (b"" if body.endswith(b"\n") else b"\n")


def _text_of(message: Message) -> bytes | None:
    """Return the decoded text of the first part with a diff, else of the first text; or None."""
    texts = []
    for part in message.walk():
        payload = part.get_payload(decode=True)
        if part.is_multipart() or not isinstance(payload, bytes):
            continue
        if part.get_content_maintype() != "text" and not _DIFF.search(payload):
            continue
        texts.append(_recoded(payload, part))
    return next((text for text in texts if _DIFF.search(text)), texts[0] if texts else None)


def _recoded(payload: bytes, part: Message) -> bytes:
    """Return a part with its words in UTF-8; the diff keeps its bytes, which are the file's."""
    text = _unix(payload)
    start = match.start() if (match := _DIFF.search(text)) else len(text)
    try:
        words = text[:start].decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # a charset that does not exist
        words = text[:start].decode("utf-8", "replace")
    return words.encode("utf-8", "replace") + text[start:]


def _unix(text: bytes) -> bytes:
    """Return text whose lines end alike: mail may end every one with CR LF, a file's some."""
    return text.replace(b"\r\n", b"\n") if text.count(b"\n") == text.count(b"\r\n") else text


def _header(message: Message, name: str) -> str:
    """Return a header as text, whatever it is encoded in or damaged by."""
    try:
        raw = message.get(name, "")
        return str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError, email.errors.MessageError):
        return str(message.get(name, "")).encode("utf-8", "replace").decode()


def _date(text: str) -> datetime:
    """Return a date of the years that git knows; what is no date is its first second."""
    try:
        found = email.utils.parsedate_to_datetime(one_line(text, 200))
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found if 1971 <= found.year <= 2099 else datetime.fromtimestamp(0, UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def _sorted_entries(folder: Path) -> list[tuple[str, int]]:
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of patches")
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".patch", ".diff"))
    kept = [name for name in names if not re.match(r"0000-", name)]  # a cover letter
    return [(name, 1) for name in kept]


def _quilt_entries(folder: Path) -> list[tuple[str, int]]:
    """Return name and strip level of each line of `series`, as quilt reads it."""
    entries = []
    for number, line in enumerate(_read(folder / "series").decode("utf-8", "replace").splitlines()):
        words = line.split("#")[0].split()
        if not words:
            continue
        name, strip = words[0], 1
        for word in words[1:]:
            level = re.fullmatch(r"-p(ab|\d)", word)
            if not level:
                raise InputError(
                    f"{folder / 'series'}:{number + 1}: {name}: found the option {word}; "
                    "expected -pN at most (a reversed patch has to be turned round first)"
                )
            strip = 1 if level[1] == "ab" else int(level[1])
        entries.append((name, strip))
    return entries


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"{folder / 'series'}: {one_line(name)} lies outside the folder")
    return path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAIL_LIMIT * 32 + 1)
    except OSError as error:
        raise InputError(f"reading patches: {error}") from error
    if len(content) > MAIL_LIMIT * 32:
        raise InputError(f"{path}: larger than {MAIL_LIMIT * 32 >> 20} MiB")
    return content


def shortened(series: Series, count: int) -> Series:
    """Return the first `count` patches of `series`."""
    return replace(series, patches=series.patches[:count])
