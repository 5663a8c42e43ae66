"""Parses one mail with b4 and git; the only module that imports b4.

Mail is untrusted, and b4 is made for a user at a terminal: it reads git's configuration, runs git,
queries servers and exits. So it gets a mail written by us (each header one printable line, of the
text only the trailers), only its parsing classes are used, and without a network. If it raises any
exception, the mail counts as not understood.
"""

import email.errors
import email.header
import email.utils
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Any

from harness.build.git import last_lines, run_outside
from harness.build.mailbox import MAIL_LIMIT, RawMail
from harness.build.sandbox import SandboxPaths, can_contain
from harness.errors import InputError
from harness.process import Runner
from harness.scratch import scratch_folder
from harness.text import one_line

DIFF = re.compile(rb"^(?:diff --git \S|--- \S[^\n]*\n\+\+\+ \S|GIT binary patch$)", re.MULTILINE)
_TRAILER = re.compile(
    rb"^(?:base-commit|change-id|prerequisite-(?:patch-id|change-id)): *[^\n]{1,300}$", re.MULTILINE
)
_TRAILERS = 200
_PARENTS = 64
_BASE = re.compile(r"^base-commit:(.*)$", re.MULTILINE)
_ID = re.compile(r"\b[0-9a-f]{7,40}\b|^\s*v\d[\w.+-]*\s*\Z")
# `[PATCHv2 1/3]` and `[PATCH1/3]`, as people write them.
_GLUED = re.compile(r"\b(PATCH|RFC|RESEND|v\d+)[-_]?(?=(?:v\d|\d{1,4}/\d))", re.IGNORECASE)
# `Re: [PATCH`, `Antw: Re: [PATCH`, in any language.
_ANSWER = re.compile(r"(?:[^\[\]:\uff1a]{1,12}[:\uff1a])+\s*\[[^\]]*PATCH", re.IGNORECASE)


@dataclass(frozen=True)
class Mail:
    """A parsed mail. `parents`: ids of the mails that it replies to, the nearest first.

    `version` and `number` (0: a cover letter) are None if the subject has none. `sender` is an
    address, empty if the mail was prepared by a tool and not sent.
    """

    raw: bytes
    message_id: str
    parents: tuple[str, ...]
    sender: str
    author: str
    date: datetime
    subject: str
    title: str
    version: int | None
    number: int | None
    total: int
    is_reply: bool
    has_diff: bool
    parsed: Any  # b4.LoreMessage


@dataclass(frozen=True)
class Facts:
    """What the trailers of a series state; `missing`: numbers of missing patches."""

    base_commit: str
    change_id: str
    prerequisites: tuple[str, ...]
    missing: tuple[int, ...]


class NotUnderstoodError(Exception):
    """The mail cannot be classified; the message has its subject and the reason."""


def read_mail(mail: RawMail) -> Mail:
    """Parse a mail. Raises NotUnderstoodError."""
    if len(mail.content) > MAIL_LIMIT:
        raise NotUnderstoodError(f"a mail of more than {MAIL_LIMIT >> 20} MiB")
    message = BytesParser(policy=compat32).parsebytes(mail.content)
    subject = one_line(_header(message, "Subject"), 300)
    try:
        return _parsed(mail, message, subject)
    except (Exception, SystemExit) as error:
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise NotUnderstoodError(f"{subject!r}: {reason}") from error


def _parsed(mail: RawMail, message: Message, subject: str) -> Mail:
    b4 = _b4()
    text = _text_of(message)
    name, address = email.utils.parseaddr(_header(message, "From").replace("\n", " "))
    name = re.sub(r"[<>\"\\]", "", one_line(name, 200)).strip() or "Unknown"
    plain = re.fullmatch(r"[^\s<>]+@[^\s<>]+", one_line(address, 200))
    address = plain[0] if plain else "unknown@invalid"
    clean = Message(policy=compat32)
    clean["Subject"] = _GLUED.sub(r"\1 ", subject)
    clean["From"] = f'"{name}" <{address}>'
    clean["Date"] = email.utils.format_datetime(_date(_header(message, "Date")))
    own = _identifiers(_header(message, "Message-ID"))
    clean["Message-Id"] = f"<{own[0] if own else _generated_id(mail.content)}>"
    answered = _identifiers(_header(message, "In-Reply-To"))[:1]
    if answered:
        clean["In-Reply-To"] = f"<{answered[0]}>"
    if references := _identifiers(_header(message, "References")):
        clean["References"] = " ".join(f"<{reference}>" for reference in references)
    clean.set_payload(_for_b4(text), "utf-8")
    parsed = b4.LoreMessage(clean)
    has_diff = bool(DIFF.search(text))
    numbered = not parsed.counters_inferred
    parents = tuple(dict.fromkeys([*answered, *reversed(references)]))
    parents = (*parents[: _PARENTS - 1], *parents[_PARENTS - 1 :][-1:])  # the root is the last
    answer = _ANSWER.match(subject) or not parsed.lsubject.prefixes
    return Mail(
        raw=mail.content,
        message_id=parsed.msgid,
        parents=tuple(parent for parent in parents if parent != parsed.msgid),
        sender="" if mail.prepared else address.lower(),
        author=f"{name} <{address}>",
        date=parsed.date,
        subject=subject,
        title=one_line(parsed.subject, 200) or subject[:200] or "without a subject",
        version=None if parsed.revision_inferred else parsed.revision,
        number=parsed.counter if numbered else None,
        total=parsed.expected,
        is_reply=parsed.reply or bool(answer and parents and not has_diff),
        has_diff=has_diff,
        parsed=parsed,
    )


def series_facts(mails: Sequence[Mail], version: int, total: int) -> Facts:
    """Return what b4 finds in the cover letter and patches of a series, without duplicates."""
    b4 = _b4()
    series = b4.LoreSeries(version, total)
    bases = []
    for mail in mails:
        mail.parsed.revision, mail.parsed.expected = version, total
        series.add_patch(mail.parsed)
        bases += [found for line in _BASE.findall(mail.parsed.body) if (found := _ID.findall(line))]
    return Facts(
        base_commit=bases[0][-1] if bases else "",
        change_id=one_line(series.change_id or "", 200),
        prerequisites=tuple(one_line(str(i), 64) for i in series.prereq_patch_ids or ()),
        missing=tuple(n for n, patch in enumerate(series.patches) if patch is None and n),
    )


def plain_mail(content: bytes, runner: Runner) -> bytes:
    """Return a patch mail in a plain form, as parsed by `git mailinfo`.

    Author, date and subject are one printable line each, the text is UTF-8, and the bytes of the
    diff are unchanged. git runs in a sandbox if this machine has one. Raises InputError if git
    finds no patch in it.
    """
    with scratch_folder("mail") as scratch:
        given, message, patch = (scratch / name for name in ("mail", "message", "patch"))
        given.write_bytes(_unix(content))
        view = SandboxPaths((scratch,)) if can_contain(runner) else None
        for encoding in ("-u", "-n"):  # unchanged if the charset is unknown
            argv = ["mailinfo", encoding, "--no-scissors", "message", "patch"]
            done = run_outside(runner, argv, scratch, given, view)
            if done.returncode == 0:
                break
        diff = _unix(patch.read_bytes()) if patch.is_file() else b""
        if done.returncode or not DIFF.search(diff):
            raise InputError(f"git finds no patch in the mail: {last_lines(done.output)}")
        body = message.read_bytes().decode("utf-8", "replace").encode("utf-8", "replace") + diff
    said = dict(re.findall(r"^(Author|Email|Subject|Date): (.*)$", done.output, re.MULTILINE))
    name = re.sub(r"[<>\"\\]", "", one_line(said.get("Author", ""), 200)).strip() or "Unknown"
    address = one_line(said.get("Email", ""), 200)
    if not re.fullmatch(r"[^\s<>]+@[^\s<>]+", address):
        address = "unknown@invalid"
    return mail_of(f"{name} <{address}>", said.get("Date", ""), said.get("Subject", ""), body)


def mail_of(author: str, date: str, subject: str, body: bytes) -> bytes:
    """Return a mail in mbox form for `git am`."""
    headers = [
        "From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001",
        f"From: {author}",
        f"Date: {email.utils.format_datetime(_date(date))}",
        f"Subject: [PATCH] {one_line(subject, 200) or 'without a subject'}",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=UTF-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    end = b"" if body.endswith(b"\n") else b"\n"
    return "\n".join(headers).encode("utf-8", "replace") + b"\n\n" + body + end


def _b4() -> Any:
    """Import b4, which takes half a second, without logging and network."""
    import b4  # noqa: PLC0415

    b4.can_network = False
    logger = logging.getLogger("b4")
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    return b4


def _text_of(message: Message) -> bytes:
    """Return the decoded text of the first part with a diff, or of the first text part."""
    texts = []
    for part in message.walk():
        payload = part.get_payload(decode=True)
        if part.is_multipart() or not isinstance(payload, bytes):
            continue
        if part.get_content_maintype() == "text" or DIFF.search(payload):
            texts.append(_unix(payload))
    return next((text for text in texts if DIFF.search(text)), texts[0] if texts else b"")


def _for_b4(text: bytes) -> str:
    """Return the part of a mail's text that b4 needs: its trailers, and a diff if it has one.

    b4 searches the rest for reviewers, with patterns that take minutes on hostile text.
    """
    trailers = b"\n".join(_TRAILER.findall(text)[:_TRAILERS])
    mark = b"\ndiff --git a/x b/x\n" if DIFF.search(text) else b""
    return b"\n".join([b"", trailers, mark]).decode("utf-8", "replace")


def _unix(text: bytes) -> bytes:
    """Return text with LF line ends: in mail all lines may end with CR LF, in a diff only some."""
    return text.replace(b"\r\n", b"\n") if text.count(b"\n") == text.count(b"\r\n") else text


def _generated_id(content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()[:32]}@without-message-id"


def _identifiers(header: str) -> list[str]:
    return re.findall(r"<([!-;=?-~]{1,500})>", header[: 64 << 10])


def _header(message: Message, name: str) -> str:
    """Return a header as text, even if its encoding is wrong."""
    try:
        raw = message.get(name, "")
        return str(email.header.make_header(email.header.decode_header(raw)))
    except (ValueError, LookupError, email.errors.MessageError):
        return str(message.get(name, "")).encode("utf-8", "replace").decode()


def _date(text: str) -> datetime:
    """Return a date within the years that git supports; the first of these for an invalid date."""
    try:
        found = email.utils.parsedate_to_datetime(one_line(text, 200))
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found if 1971 <= found.year <= 2099 else datetime.fromtimestamp(0, UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
