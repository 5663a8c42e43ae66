"""Follows /dev/kmsg over connections that may be lost and opened again.

A record is `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT` (Documentation/ABI/testing/dev-kmsg). Each
new reader gets the whole buffer again, so what was seen is known by its sequence number.
"""

import re
import time
from pathlib import Path

from harness.testmod.verdicts import first_crash

FOLLOW = ("kmsg",)  # a verb of the helper

_MOST_BYTES = 256 << 20  # of one boot; a machine that prints forever must not fill our disk
_RECORD = re.compile(r"^(\d{1,4}),(\d{1,20}),(\d{1,20}),[^;]{1,64};(.*)\Z")


class KmsgLog:
    """Writes each record once, as dmesg prints it, to `file` as it comes."""

    def __init__(self, file: Path):
        """`file` is appended to."""
        self._file, self._last, self._at = file, -1, time.monotonic()
        self.crash = ""  # the first line that says so
        self._room = _MOST_BYTES
        self.lost = 0  # records that the buffer dropped before anybody read them

    def take(self, line: str) -> None:
        """Take one line of /dev/kmsg; continuation lines and repeated records are dropped."""
        record = _RECORD.match(line)
        if record is None:
            return
        priority, sequence, time_us, text = *map(int, record.group(1, 2, 3)), record[4]
        if sequence <= self._last:
            return
        if self._last >= 0:
            self.lost += sequence - self._last - 1
        self._last, self._at = sequence, time.monotonic()
        prefix = "" if priority < 8 else f"<{priority}>"  # a program that writes to /dev/kmsg
        line = f"{prefix}[{time_us // 1_000_000:5}.{time_us % 1_000_000:06}] {text}"
        self._look(line)
        self.note(line)

    def note(self, line: str) -> None:
        """Write a line of our own. What is more than `_MOST_BYTES` is left out, which is said."""
        if self._room <= 0:
            return
        self._room -= len(line) + 1
        if self._room <= 0:
            line = f"---- vmapbench: more than {_MOST_BYTES >> 20} MiB: the rest is left out"
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def append(self, text: str) -> None:
        """Write lines of the kernel that came another way (serial console, pstore)."""
        for line in text.splitlines():
            self._look(line)
            self.note(line)

    def listen(self) -> None:
        """Count silence from now on: what was said before, a line that was cut may have lost."""
        self._at = time.monotonic()

    def silent_s(self) -> float:
        """Return for how many seconds of listening no record has come."""
        return time.monotonic() - self._at

    def _look(self, text: str) -> None:
        self.crash = self.crash or first_crash(text)
