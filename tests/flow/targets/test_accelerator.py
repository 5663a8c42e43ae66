"""The probe guest, in a real QEMU."""

from harness.targets.accelerator import ensure_kvm_probe, probe_accelerator, qemu_version


def test_real_qemu_tells_its_version(runner):
    assert qemu_version(runner) >= (7, 2, 0)


def test_the_probe_guest_really_runs_under_tcg(runner, tmp_path):
    works, reason = probe_accelerator("tcg", tmp_path, runner)
    assert works, reason


def test_an_accelerator_that_is_not_there_is_refused_with_qemu_s_words(runner, tmp_path):
    works, reason = probe_accelerator("hvf", tmp_path, runner)
    assert not works
    assert "hvf" in reason


def test_a_probe_guest_that_hangs_costs_no_more_than_its_deadline(runner, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.targets.accelerator._PROBE_CODE", b"\xeb\xfe")  # jump to itself
    works, reason = probe_accelerator("tcg", tmp_path, runner, deadline_s=1)
    assert not works
    assert "did not end" in reason


def test_no_device_needs_no_probe(runner, tmp_path):
    probe = ensure_kvm_probe(tmp_path, runner, device=tmp_path / "kvm")
    assert not probe.works
    assert "cannot be opened" in probe.reason


def test_the_answer_is_remembered_for_this_boot_only(runner, tmp_path):
    device = tmp_path / "kvm"
    device.touch()
    first = ensure_kvm_probe(tmp_path, runner, device)
    remembered = tmp_path / "kvm-probe.json"
    written = remembered.stat().st_mtime_ns
    assert ensure_kvm_probe(tmp_path, runner, device) == first
    assert remembered.stat().st_mtime_ns == written
    remembered.write_text(remembered.read_text().replace(first.boot_id, "another boot"))
    assert ensure_kvm_probe(tmp_path, runner, device).boot_id == first.boot_id
    remembered.write_text("{damaged")
    assert ensure_kvm_probe(tmp_path, runner, device).boot_id == first.boot_id
