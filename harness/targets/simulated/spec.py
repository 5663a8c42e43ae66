"""`kind: simulated`: what a playbook says of the simulated machine."""

from typing import Literal

from harness.spec.kernel import Name
from harness.spec.target import CpuCount, TargetSpec


class SimulatedSpec(TargetSpec):
    """A many-core machine in virtual time. `machine` names a cost model."""

    kind: Literal["simulated"]
    """A many-core machine in virtual time. Example: `simulated`"""
    cpus: CpuCount = 64
    """CPUs; more than 255 need a kernel with x2APIC. Example: `64`"""
    machine: Name = "threadripper-3970x"
    """The cost model, a file of harness/targets/simulated/machines. Example: `threadripper-3970x`
    """


Spec = SimulatedSpec
