"""Parquet: a row per sample, with the columns of the analysis and the run as metadata."""

import json
from dataclasses import asdict
from typing import BinaryIO

from harness.errors import InputError
from harness.records import StoredRun
from harness.store.store import Store


def write(stored: StoredRun, store: Store, stream: BinaryIO) -> None:
    """Write every raw sample of the run; the metadata's key `vmapbench` has the run as JSON.

    Raises InputError if pyarrow is not installed.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra: 180 MB that few need)
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'vmapbench[parquet]'") from error
    table = pa.Table.from_pandas(store.samples_frame(stored.run.id), preserve_index=False)
    facts = json.dumps(asdict(stored.run)).encode()
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"vmapbench": facts})
    pyarrow.parquet.write_table(table, stream, compression="zstd")
