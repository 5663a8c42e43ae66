"""Output to the terminal: everything is printed here, sanitised of control sequences."""

import errno
import os
import sys
from typing import TextIO

from rich.text import Text

from harness.text import one_line, visible

_ADVICE = {
    errno.ENOSPC: "make room on that file system, or name another place",
    errno.EDQUOT: "the quota is used up: make room, or name another place",
    errno.EROFS: "that file system is read-only: name another place",
    errno.EACCES: "this user may not write there: name another place",
    errno.ENOLCK: "that file system gives no locks (NFS?): keep it on a local one",
    errno.EOPNOTSUPP: "that file system gives no locks (NFS?): keep it on a local one",
}


def echo(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print `text` to standard output, or to standard error with `err`, and flush.

    Terminal control sequences are replaced (`harness.text.visible`). Raises OSError when standard
    output cannot be written; a message for a closed standard error is dropped.
    """
    stream: TextIO = sys.stderr if err else sys.stdout
    try:
        stream.write(visible(str(text)) + ("\n" if nl else ""))
        stream.flush()
    except OSError:
        if not err:
            raise


def tell(text: str) -> None:
    """Print a line of progress to standard error."""
    echo(text, err=True)


def shown(value: object, style: str = "") -> Text:
    """Return a value for a table or a progress bar: one line, without markup."""
    return Text(one_line("" if value is None else str(value)), style=style)


def describe(error: OSError) -> str:
    """Return what the system refused, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"\n  next: {advice}" if advice else "")


def open_streams() -> None:
    """Make sure that standard input, output and error exist, and accept every character.

    A descriptor that the caller closed would be reused for the next file that is opened, and
    messages would be written into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")
