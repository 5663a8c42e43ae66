"""`kind: qemu`: the target section of a playbook for QEMU guests."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.spec.target import CpuCount, TargetSpec


class QemuSpec(TargetSpec):
    """The target section of a playbook with `kind: qemu`."""

    kind: Literal["qemu"]
    """A QEMU guest on this machine. Example: `qemu`"""
    cpus: CpuCount = 2
    """Virtual CPUs; a multiple of sockets x threads_per_core. Example: `16`"""
    sockets: Annotated[int, Field(ge=1, le=64)] = 1
    """Sockets that the guest sees. Example: `2`"""
    threads_per_core: Annotated[int, Field(ge=1, le=8)] = 1
    """Hardware threads of a core that the guest sees. Example: `2`"""
    numa_nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """NUMA nodes that the guest sees; at most as many as CPUs. Example: `2`"""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """`auto` uses KVM only if Linux is known to run under it here. Example: `tcg`"""

    @model_validator(mode="after")
    def _topology_divides(self) -> "QemuSpec":
        if self.cpus % (self.sockets * self.threads_per_core):
            raise ValueError(
                f"cpus ({self.cpus}) must be a multiple of sockets x threads_per_core "
                f"({self.sockets} x {self.threads_per_core})"
            )
        if self.numa_nodes > self.cpus:
            raise ValueError(f"numa_nodes ({self.numa_nodes}) must not exceed cpus ({self.cpus})")
        return self


Spec = QemuSpec
