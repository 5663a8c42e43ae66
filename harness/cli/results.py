"""What the verbs that read results share: the open store."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.store.store import Store


@contextlib.contextmanager
def opened_store(reports: Path) -> "Iterator[Store]":
    """Open the store of `reports` (or of VMAPBENCH_STORE), which must exist already."""
    from harness.run.session import store_location
    from harness.store.store import open_store

    with contextlib.closing(open_store(store_location(reports), must_exist=True)) as store:
        yield store
