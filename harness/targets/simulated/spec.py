"""`kind: simulated`: the target section of a playbook for the simulated machine."""

from typing import Literal

from harness.spec.kernel import Name
from harness.spec.target import CpuCount, TargetSpec


class SimulatedSpec(TargetSpec):
    """The target section of a playbook with `kind: simulated`."""

    kind: Literal["simulated"]
    """A many-core machine in virtual time. Example: `simulated`"""
    cpus: CpuCount = 64
    """CPUs; more than 255 need a kernel with x2APIC. Example: `64`"""
    machine: Name = "threadripper-3970x"
    """The cost model, a file of harness/targets/simulated/machines. Example: `threadripper-3970x`
    """


Spec = SimulatedSpec
