"""Machine models as the prediction sees them."""

import pytest

from harness.targets.simulated.costs import machine_costs


def test_a_machine_model_becomes_costs():
    costs = machine_costs("threadripper-3970x")
    assert costs.instruction_ns == pytest.approx(1000 / 3700)
    assert costs.transfer_ns[1] < costs.transfer_ns[3]
    assert (costs.threads_per_core, costs.cpus_per_complex) == (2, 8)
    assert costs.smt_factor > 1
