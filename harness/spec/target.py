"""The target of a playbook; each folder of harness/targets with a spec.py is one kind."""

import importlib
from typing import Annotated, ClassVar

from pydantic import Field

from harness.plugins import folders
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document

CpuCount = Annotated[int, Field(ge=1, le=1024)]


class TargetSpec(Document):
    """Base of the targets; harness/targets/KIND/spec.py defines the `Spec` of each kind.

    `kind` is the name of that folder. A kind with `remote` boots another machine, named by its
    field `host`.
    """

    remote: ClassVar[bool] = False

    kind: str
    """Kind of target. Example: `qemu`"""
    cpus: CpuCount
    """Number of CPUs of the kernels. Example: `64`"""
    memory_mib: Annotated[int, Field(ge=128)] | None = None  # None: what the workload needs
    """Guest memory in MiB; default: what the workload needs. Example: `4096`"""
    boot_parameters: tuple[BootParameter, ...] = ()
    """Added to the command line of every boot. Example: `[mitigations=off]`"""


def target_specs() -> tuple[type[TargetSpec], ...]:
    """Return the `Spec` of each kind of target, sorted by its folder's name."""
    kinds = folders("harness.targets", "spec.py")
    return tuple(importlib.import_module(f"harness.targets.{kind}.spec").Spec for kind in kinds)
