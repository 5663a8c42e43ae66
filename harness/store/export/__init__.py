"""Exports runs. Each format is a module in this folder, found by its name.

The module has `write(stored: StoredRun, store: Store, stream: BinaryIO) -> None`, which reads the
samples itself as they may not fit in memory, and a docstring whose first line describes the format.
docs/howto/exports.md describes them all.
"""

import importlib
from typing import Any, BinaryIO

from harness.errors import InputError
from harness.plugins import names
from harness.store.store import Store


def formats() -> dict[str, str]:
    """Return name -> description of each format, in one line."""
    return {name: (_module(name).__doc__ or "").split("\n")[0] for name in names(__name__)}


def check_format(form: str) -> None:
    """Raise InputError if `form` is not one of `formats`."""
    if form not in formats():
        raise InputError(f"--format: found {form!r}, expected one of {', '.join(formats())}")


def export_run(store: Store, run_id: str, form: str, stream: BinaryIO) -> None:
    """Write a run to `stream`. Raises InputError for an unknown format or a missing library."""
    check_format(form)
    _module(form).write(store.stored_run(run_id), store, stream)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
