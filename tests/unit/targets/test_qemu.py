from dataclasses import replace
from pathlib import Path

from harness.targets.accelerator import ensure_kvm_probe, probe_accelerator, qemu_version
from harness.targets.qemu import Guest, qemu_argv

GUEST = Guest(
    cpus=8,
    memory_mib=1000,
    image=Path("bzImage"),
    initramfs=Path("initramfs"),
    boot_parameters=("console=ttyS0", "vmap_nodes=1"),
    sockets=2,
    threads_per_core=2,
)


def argv(guest=GUEST):
    return qemu_argv(guest, Path("/r/console.log"), Path("/r/report"), Path("/t/qmp"))


def value(options, name):
    return options[options.index(name) + 1]


def test_the_queued_spinlock_stays():
    assert value(argv(), "-cpu") == "max,-hypervisor"


def test_topology():
    assert value(argv(), "-smp") == "8,sockets=2,cores=2,threads=2"


def test_boot_parameters_are_one_argument():
    assert value(argv(), "-append") == "console=ttyS0 vmap_nodes=1"


def test_numa_nodes_share_memory_and_cpus_without_rest():
    options = argv(replace(GUEST, numa_nodes=3))
    nodes = [options[i + 1] for i, word in enumerate(options) if word == "-numa"]
    sizes = [options[i + 1].split("size=")[1] for i, w in enumerate(options) if w == "-object"]
    assert [node.split("cpus=")[1].split(",")[0] for node in nodes] == ["0-1", "2-4", "5-7"]
    assert sum(int(size.removesuffix("M")) for size in sizes) == 1000


def test_a_comma_in_a_path_does_not_become_an_option():
    options = qemu_argv(GUEST, Path("/a,b/console"), Path("/r"), Path("/t"))
    assert "file,id=console,path=/a,,b/console" in options


def test_multi_threaded_tcg_by_default():
    assert value(argv(), "-accel") == "tcg,thread=multi"
    assert value(argv(replace(GUEST, accelerator="kvm")), "-accel") == "kvm"


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
