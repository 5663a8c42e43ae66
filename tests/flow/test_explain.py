"""Extra boots: what is kept of them, and what a failed one says."""

import pytest

from harness.errors import InputError
from harness.run.begin import begin_run
from harness.run.execute import Execution, run_pending
from harness.run.explain import FOLDER, explain_run, refuse_unexplained
from harness.run.noise import HostState
from harness.run.prepare import prepare
from harness.store.store import open_store
from harness.targets.explanation import FILE, BootAccount, read_explanation, write_explanation
from tests.flow.fakes import FakeTarget, Silent, fake_kernel, fake_playbook


class ExplainingTarget(FakeTarget):
    """One whose extra boots leave an account, unless it is `silent`."""

    explain_fragments = ()
    silent = False

    def boot(self, request, progress):
        result = super().boot(request, progress)
        if request.explain and not self.silent:
            account = BootAccount(clock="made up", spin_ns=1, locks=(), functions=())
            write_explanation(request.folder / FILE, account)
        return result


@pytest.fixture
def measured(tmp_path, module_bytes):
    """Returns a run that is complete, its plan, its target and its store."""
    target = ExplainingTarget()
    build = lambda name: fake_kernel(tmp_path / "kernels", name, module_bytes)  # noqa: E731
    prepared = prepare(fake_playbook(), build, target)
    store = open_store(tmp_path / "store.db")
    run_id = begin_run(prepared, store)
    quiet = lambda: HostState(0.0, 0.0, 0.0, 0, (), (), 1)  # noqa: E731
    run = Execution(run_id, target, store, tmp_path / run_id, Silent(), quiet)
    run_pending(run, prepared)
    yield run, prepared, target
    store.close()


def test_each_kernel_is_booted_once_more_and_the_store_knows_nothing_of_it(measured):
    run, prepared, target = measured
    before = run.store.boots(run.run_id)
    assert explain_run(run, prepared) == []
    assert run.store.boots(run.run_id) == before
    extra = [request for request in target.requests if request.explain]
    assert sorted(request.kernel.spec.name for request in extra) == sorted(prepared.kernels)
    for name in prepared.kernels:
        found = read_explanation(run.folder / FOLDER / f"{name}.json")
        assert (found.kernel, found.nr_threads) == (name, 2)


def test_an_extra_boot_that_fails_is_said_and_the_samples_stand(measured):
    run, prepared, target = measured
    target.silent = True
    first, *_ = failed = explain_run(run, prepared)
    assert len(failed) == len(prepared.kernels)
    assert "left no account of its time" in first
    target.results = iter(["broken"] * len(failed))
    assert "the fake machinery broke" in explain_run(run, prepared)[0]
    assert not (run.folder / FOLDER).exists()


def test_a_target_that_cannot_is_refused_with_one_that_can():
    refuse_unexplained(ExplainingTarget(), "simulated")
    with pytest.raises(InputError, match="--on simulated"):
        refuse_unexplained(FakeTarget(), "qemu")
