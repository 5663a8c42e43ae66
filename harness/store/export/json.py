"""JSON: everything that is recorded of the run; versioned, its schema is run.schema.json.

Written boot by boot, so that memory does not limit the size of a run.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

from harness.errors import StoreError
from harness.records import StoredRun
from harness.store.columns import NO_XFAILED, OF_SAMPLE
from harness.store.store import Store

_NO_NUMBER = re.compile(r"[^][0-9,-]")
FORMAT, VERSION = "vmapbench-run", 1


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write the run as a JSON object; the samples of a boot are a list per column, or null."""
    run = asdict(stored.run)
    head = {
        "format": FORMAT,
        "version": VERSION,
        "kernels": run.pop("kernels"),
        "run": run,
        "jobs": [asdict(job) for job in stored.jobs],
    }
    stream.write(_text(head)[:-1].encode() + b',"boots":[')
    texts = store.sample_texts(stored.run.id)
    ahead = next(texts, None)
    for number, boot in enumerate(stored.boots):
        record = {"boot": number, **asdict(boot)}
        del record["samples"]
        columns = "null"
        if ahead is not None and ahead[0].boot == number:
            columns = _columns(ahead[1])
            ahead = next(texts, None)
        text = f'{_text(record)[:-1]},"samples":{columns}}}'
        stream.write((",\n" if number else "\n").encode() + text.encode())
    stream.write(b"\n]}\n")


def _columns(texts: Any) -> str:
    """Return the columns of `joined_samples` as a JSON object of lists.

    Raises StoreError if a column has something else than integers.
    """
    values = {name: f"[{getattr(texts, name)}]" for name in OF_SAMPLE}
    if odd := [name for name in OF_SAMPLE if name != "case" and _NO_NUMBER.search(values[name])]:
        raise StoreError(
            f"exporting samples: {', '.join(odd)}: expected integers only\n"
            "  next: the store is damaged; `sqlite3 FILE .recover | sqlite3 NEW.db` may save it"
        )
    values["case"] = json.dumps(texts.case.split(","))
    values["xfailed"] = values["xfailed"].replace(NO_XFAILED, "null")
    return "{" + ",".join(f'"{name}":{text}' for name, text in values.items()) + "}"


def _text(value: Any) -> str:
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    """Return `value` with None for NaN and infinities, which JSON cannot represent."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
