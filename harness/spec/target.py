"""What a playbook says of its target; the kinds of target are the folders of harness/targets."""

import importlib
from typing import Annotated, ClassVar

from pydantic import Field

from harness.plugins import folders
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document

CpuCount = Annotated[int, Field(ge=1, le=1024)]


class TargetSpec(Document):
    """Base of the targets. `harness/targets/KIND/spec.py` has the `Spec` of a kind.

    `kind` is the name of that folder. A kind with `remote` boots a machine other than this one, and
    has a field `host` with its name.
    """

    remote: ClassVar[bool] = False

    kind: str
    """Where kernels are booted. Example: `qemu`"""
    cpus: CpuCount
    """CPUs that the kernels boot with. Example: `64`"""
    memory_mib: Annotated[int, Field(ge=128)] | None = None  # None: what the workload needs
    """Guest memory in MiB; what the workload needs unless given. Example: `4096`"""
    boot_parameters: tuple[BootParameter, ...] = ()
    """Added to the command line of every boot. Example: `[mitigations=off]`"""


def target_specs() -> tuple[type[TargetSpec], ...]:
    """Return the `Spec` of every kind of target, by the names of their folders."""
    kinds = folders("harness.targets", "spec.py")
    return tuple(importlib.import_module(f"harness.targets.{kind}.spec").Spec for kind in kinds)
