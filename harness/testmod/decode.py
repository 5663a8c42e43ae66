"""Decodes the bytes of kernel logs to text with one line per record. Pure.

Supported are UTF-8, UTF-16, UTF-32, gzip, JSON of `dmesg -J` and `journalctl -o json`, and
quoted-printable mail. A JSON record becomes a line in the format of syslog.
"""

import codecs
import gzip
import io
import json
import quopri
import re
import zlib
from collections.abc import Iterator
from typing import Any

from harness.errors import InputError

TEXT_BYTES = 1 << 29  # limit per log; a verbose console prints about ten million bytes a day
_PIECE_BYTES = 1 << 20  # decompressed at once
_LINE_CHARACTERS = 8_192  # the kernel's longest line has 2,048 (PRINTK_MESSAGE_MAX)
_BOMS = (  # UTF-32 first, as its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
_JSON = re.compile(r'\s*\{\s*"')
_JSON_BETWEEN = re.compile(r'[\s,\x1e\]}]*(?:\{\s*"dmesg"\s*:\s*\[)?\s*')
_QUOTED_PRINTABLE = re.compile(
    rb"=3D\d{1,20} (?:cycles|nsecs)|(?i:^Content-Transfer-Encoding: quoted-printable)", re.M
)
_LEVELS = {
    "emerg": 0,
    "alert": 1,
    "crit": 2,
    "err": 3,
    "warn": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}


def decode_log(data: bytes) -> tuple[str, list[str]]:
    """Return the text of a kernel log, and remarks on parts that were left out.

    Raises InputError if it is larger than `TEXT_BYTES`, compressed or not.
    """
    _check_size(data)
    data, remarks = _unpack(data)
    if _QUOTED_PRINTABLE.search(data):
        data = quopri.decodestring(data)
    text = _decode(data).replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    if _JSON.match(text):
        text = "\n".join(_json_lines(text))
    text, cut = _with_bounded_lines(text)
    return text, [*remarks, *cut]


def _check_size(data: bytes | bytearray) -> None:
    if len(data) > TEXT_BYTES:
        raise InputError(f"larger than {TEXT_BYTES >> 20} MiB; split it")


def _unpack(data: bytes) -> tuple[bytes, list[str]]:
    """Return `data`, decompressed if it is gzip, and remarks on damage."""
    if not data.startswith(b"\x1f\x8b"):
        return data, []
    unpacked, remarks = bytearray(), list[str]()
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        try:
            while len(unpacked) <= TEXT_BYTES and (piece := file.read1(_PIECE_BYTES)):
                unpacked += piece
        except (EOFError, OSError, zlib.error) as error:
            if not unpacked:
                raise InputError(f"damaged gzip: {error}") from error
            remarks.append(f"the gzip file is damaged; only the part before was read: {error}")
    _check_size(unpacked)
    return bytes(unpacked), remarks


def _decode(data: bytes) -> str:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(encoding, errors="replace")
    return data.decode(errors="replace")


def _json_lines(text: str) -> Iterator[str]:
    """Yield a line for each JSON record; other text, as of a truncated log, is unchanged."""
    decoder, at = json.JSONDecoder(), 0
    while True:
        between = _JSON_BETWEEN.match(text, at)
        at = between.end() if between else at
        if at >= len(text):
            return
        try:
            record, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            yield text[at:end]
            at = end
            continue
        if isinstance(record, dict):
            yield from _record_lines(record)


def _record_lines(record: dict[str, Any]) -> Iterator[str]:
    """Return the lines of a record of `dmesg -J` or a journal."""
    message = record.get("msg", record.get("MESSAGE"))
    if isinstance(message, list):  # bytes, if a journal's message is not plain text
        message = bytes(b for b in message if isinstance(b, int) and 0 <= b < 256).decode(
            errors="replace"
        )
    if not isinstance(message, str):
        return
    if "msg" in record:
        level = record.get("pri", 6)
        level = _LEVELS.get(level, level) if isinstance(level, str) else level
        kernel = record.get("fac", "kern") in ("kern", 0)
        time_s = record.get("time", 0.0)
        stamp = f"[{time_s:12.6f}] " if isinstance(time_s, int | float) else ""
        head = f"<{(0 if kernel else 8) | (level if isinstance(level, int) else 6)}>{stamp}"
    else:
        kernel = record.get("_TRANSPORT", "kernel") == "kernel"
        head = "<6>" if kernel else f"<14>{record.get('SYSLOG_IDENTIFIER', '?')}: "
    for line in message.split("\n"):
        yield head + line


def _with_bounded_lines(text: str) -> tuple[str, list[str]]:
    lines = text.split("\n")
    remarks = []
    for number, line in enumerate(lines):
        if len(line) > _LINE_CHARACTERS:
            remarks.append(
                f"line {number + 1} has {len(line):,} characters, "
                f"only the first {_LINE_CHARACTERS:,} were read"
            )
            lines[number] = line[:_LINE_CHARACTERS]
    if not remarks:
        return text, []
    if len(remarks) > 3:
        remarks = [*remarks[:3], f"and {len(remarks) - 3:,} more lines of such length"]
    return "\n".join(lines), remarks
