"""Converts a machine model to the costs of the timing model, so that both use the same figures."""

from harness.model.costs import MachineCosts
from harness.targets.simulated.machine import MachineModel, load_machine


def machine_costs(name: str) -> MachineCosts:
    """Return the costs of the machine model `name`. Raises InputError if it is unknown."""
    return model_costs(load_machine(name))


def model_costs(model: MachineModel) -> MachineCosts:
    """Return the costs of a machine model."""
    cycle_ns = 1000 / model.clock_mhz
    transfers, topology = model.transfers, model.topology
    per_complex = topology.threads_per_core * topology.cores_per_complex
    return MachineCosts(
        name=model.name,
        instruction_ns=cycle_ns / model.instructions_per_cycle,
        atomic_ns=model.atomic_cycles * cycle_ns,
        byte_ns=cycle_ns / model.string_bytes_per_cycle,
        transfer_ns=(
            transfers.same_core_ns,
            transfers.same_complex_ns,
            transfers.same_die_ns,
            transfers.other_die_ns,
        ),
        threads_per_core=topology.threads_per_core,
        cpus_per_complex=per_complex,
        cpus_per_die=per_complex * topology.complexes_per_die,
        nearest_first=model.arbitration == "nearest-first",
        smt_factor=2 / model.smt_throughput if topology.threads_per_core > 1 else 1.0,
    )
