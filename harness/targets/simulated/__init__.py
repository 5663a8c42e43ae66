"""A many-core machine in virtual time on QEMU's TCG; see docs/explanation/simulated.md."""

from harness.targets.simulated.target import SimulatedTarget, make_target

__all__ = ["SimulatedTarget", "make_target"]
