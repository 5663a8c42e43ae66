"""A many-core machine in virtual time on QEMU's TCG; see docs/explanation/simulated.md."""
