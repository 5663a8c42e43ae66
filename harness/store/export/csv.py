"""CSV: one line a sample, with the columns of the analysis (RFC 4180, \\n at line ends)."""

import csv
import io
from itertools import repeat
from typing import BinaryIO

from harness.records import StoredRun
from harness.store.columns import NO_XFAILED, OF_BOOT, OF_SAMPLE
from harness.store.store import Store
from harness.text import escaped_line


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write every raw sample of the run; `xfailed` is empty if the module does not report it."""
    stream.write((",".join([*OF_BOOT, *OF_SAMPLE]) + "\n").encode())
    for boot, texts in store.sample_texts(stored.run.id):
        columns = [escaped_line(getattr(texts, name)).split(",") for name in OF_SAMPLE]
        at = OF_SAMPLE.index("xfailed")
        columns[at] = ["" if value == NO_XFAILED else value for value in columns[at]]
        # Numbers and single words need no quotes; names given by users may.
        lines = map(",".join, zip(repeat(_quoted(boot[: len(OF_BOOT)])), *columns, strict=False))
        stream.write("\n".join(lines).encode() + b"\n")


def _quoted(values: tuple[object, ...]) -> str:
    line = io.StringIO()
    parts = [escaped_line(value) if isinstance(value, str) else value for value in values]
    csv.writer(line, lineterminator="").writerow(parts)
    return line.getvalue()
