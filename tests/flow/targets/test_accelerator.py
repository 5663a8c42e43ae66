"""The probe guest, in a real QEMU, and what is remembered of it."""

import json
from dataclasses import replace

import pytest

from harness.spec.architecture import X86_64
from harness.targets.accelerator import (
    KvmState,
    find_kvm,
    forget_kvm,
    probe_accelerator,
    qemu_version,
    remember_kvm,
)


@pytest.fixture
def device(tmp_path, monkeypatch):
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr("harness.targets.accelerator.KVM_DEVICE", device)
    return device


def test_real_qemu_tells_its_version(runner):
    assert qemu_version(runner) >= (7, 2, 0)


def test_the_probe_guest_really_runs_under_tcg(runner, tmp_path):
    works, reason = probe_accelerator("tcg", tmp_path, runner)
    assert works, reason


def test_an_accelerator_that_is_not_there_is_refused_with_qemu_s_words(runner, tmp_path):
    works, reason = probe_accelerator("hvf", tmp_path, runner)
    assert not works
    assert "hvf" in reason


def test_a_probe_guest_that_hangs_costs_no_more_than_its_deadline(runner, tmp_path):
    hanging = replace(X86_64, probe=replace(X86_64.probe, code=b"\xeb\xfe"))  # jump to itself
    works, reason = probe_accelerator("tcg", tmp_path, runner, hanging, deadline_s=1)
    assert not works
    assert "did not end" in reason


def test_no_device_needs_no_probe(runner, tmp_path, device):
    device.unlink()
    kvm = find_kvm(tmp_path / "cache", runner)
    assert (kvm.state, kvm.usable) == (KvmState.NO_DEVICE, False)
    assert "does not exist" in kvm.seen
    assert not (tmp_path / "cache").exists()


def test_the_answer_holds_for_this_boot_this_qemu_and_this_cpu_model(runner, tmp_path, device):
    first = find_kvm(tmp_path, runner)
    linux = remember_kvm(first.__class__(**{**vars(first), "state": KvmState.RUNS_LINUX}), tmp_path)
    assert find_kvm(tmp_path, runner) == linux
    remembered = tmp_path / "kvm.json"
    text = remembered.read_text()
    for key in ("boot_id", "qemu", "guest"):
        remembered.write_text(json.dumps({**json.loads(text), key: "another"}))
        assert find_kvm(tmp_path, runner) == first
    remembered.write_text(text)
    assert find_kvm(tmp_path, runner, X86_64, "qemu64").state is not KvmState.RUNS_LINUX
    for damaged in ("{damaged", "[]", '{"state": "odd"}', json.dumps({"state": "no device"})):
        remembered.write_text(damaged)
        assert find_kvm(tmp_path, runner) == first
    remembered.write_text(text)
    forget_kvm(tmp_path)
    assert find_kvm(tmp_path, runner) == first
