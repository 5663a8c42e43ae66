"""Stores a run before its first boot: its plan, kernels and host."""

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

from harness import __version__
from harness.build.kernel import BuiltKernel
from harness.records import RunRecord
from harness.run.fingerprint import host_fingerprint
from harness.run.prepare import Prepared
from harness.spec.playbook import Playbook
from harness.store.store import Store


def new_run_id(playbook: Playbook, now: dt.datetime) -> str:
    """Return an id that sorts by time and has the playbook: 20240102-184633-smoke-1f3a."""
    return f"{now:%Y%m%d-%H%M%S}-{playbook.name}-{secrets.token_hex(2)}"


def begin_run(
    prepared: Prepared,
    store: Store,
    more: Mapping[str, Any] | None = None,
    now: dt.datetime | None = None,
    run_id: str | None = None,
) -> str:
    """Store a run and all its jobs; return its id.

    `more`: further content of its plan; `now`: when it begins; `run_id`: its id, if chosen before.
    """
    now = (now or dt.datetime.now(dt.UTC)).astimezone(dt.UTC)
    run_id = run_id or new_run_id(prepared.playbook, now)
    run = RunRecord(
        id=run_id,
        playbook=prepared.playbook.text,
        plan={**prepared.playbook.model_dump(mode="json", exclude={"text"}), **(more or {})},
        harness=__version__,
        host=host_fingerprint(),
        started_at=now.isoformat(timespec="seconds"),
        kernels={name: kernel_facts(kernel) for name, kernel in prepared.kernels.items()},
    )
    store.create_run(run, prepared.jobs)
    return run_id


def kernel_facts(kernel: BuiltKernel) -> dict[str, Any]:
    """Return the facts of a kernel that are stored with a run."""
    return {
        "key": kernel.key,
        "release": kernel.release,
        "architecture": kernel.spec.architecture,
        "label": kernel.spec.label,
        "summary": kernel.spec.summary,
        "source": kernel.spec.source.model_dump(mode="json"),
        "patches": list(kernel.patches),
        "fragments": list(kernel.spec.fragments),
        "config": kernel.spec.config,
        "added": list(kernel.added),
        "dropped_modules": kernel.dropped_modules,
        "boot_parameters": list(kernel.spec.boot_parameters),
        "config_sha256": hashlib.sha256(kernel.config.read_bytes()).hexdigest(),
        "module_sha256": hashlib.sha256(kernel.module.read_bytes()).hexdigest(),
        "critical": dict(kernel.critical),
        "chosen": dict(kernel.chosen),
        "features": dict(kernel.features),
        "compiler": compiler_of(kernel.config.read_text(encoding="utf-8", errors="replace")),
    }


def compiler_of(config: str) -> str:
    """Return the compiler named in a kernel configuration, empty if there is none."""
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"$', config, re.MULTILINE)
    return match[1] if match else ""
