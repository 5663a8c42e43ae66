"""Splits mailboxes into mails: mbox, also compressed, and maildir."""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError

MAIL_LIMIT = 8 << 20  # bytes; the largest patch mails on the lists are below 1 MiB
BOX_LIMIT = 256 << 20

_FROM_LINE_LIMIT = 1000
_FROM_LINE = re.compile(rb"^From \S+ .*\d\d:\d\d:\d\d.* \d{4}\s*\Z")  # dates the mail
# Written by git format-patch and b4 am: From: is the author of the patch, and it was not sent.
_PREPARED = re.compile(rb"^From (?:[0-9a-f]{40} Mon Sep 17 00:00:00 2001|git@z )")


@dataclass(frozen=True)
class RawMail:
    """One mail. `prepared`: written by git format-patch or b4 instead of sent by its author."""

    content: bytes
    prepared: bool = False


def read_mailbox(path: Path) -> list[RawMail]:
    """Return the mails of a mailbox file or a maildir, in order.

    Raises InputError if it is neither, or too large.
    """
    if path.is_dir():
        return list(_read_maildir(path))
    content = read_bounded(path)
    mails = list(split_mbox(content))
    if not mails and content.strip():
        raise InputError(
            f"{path} is not a mailbox: no line begins a mail (`From SENDER DATE`)\n"
            "  next: name a file in mbox form, also .gz, a maildir, or a folder with `patches`"
        )
    return mails


def split_mbox(content: bytes) -> Iterator[RawMail]:
    """Yield the mails of a mailbox file, without their `From ` lines.

    Quoted `>From ` lines are kept; git handles them.
    """
    lines: list[bytes] = []
    head: bytes | None = None
    for line in content.splitlines(keepends=True):
        if len(line) < _FROM_LINE_LIMIT and _FROM_LINE.match(line):
            if head is not None:
                yield RawMail(b"".join(lines), bool(_PREPARED.match(head)))
            head, lines = line, []
        else:
            lines.append(line)
    if head is not None:
        yield RawMail(b"".join(lines), bool(_PREPARED.match(head)))


def read_bounded(path: Path) -> bytes:
    """Return a file's bytes, decompressed if they are gzip's. Raises InputError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(BOX_LIMIT + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    except OSError as error:
        raise InputError(f"reading patches: {error}") from error
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path, "rb") as stream:
                content = stream.read(BOX_LIMIT + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip: {error}") from error
    if len(content) > BOX_LIMIT:
        raise InputError(f"{path}: larger than {BOX_LIMIT >> 20} MiB")
    return content


def _read_maildir(folder: Path) -> Iterator[RawMail]:
    if not any((folder / part).is_dir() for part in ("cur", "new")):
        raise InputError(
            f"{folder} is not a maildir: it has neither a folder cur nor new\n"
            "  next: name a folder of patches with `patches`"
        )
    for path in sorted(path for part in ("cur", "new") for path in (folder / part).glob("*")):
        if path.is_file():
            content = read_bounded(path)
            head = content.partition(b"\n")[0] + b"\n"
            begun = _FROM_LINE.match(head)
            body = content[len(head) :] if begun else content
            yield RawMail(body, bool(begun and _PREPARED.match(head)))
