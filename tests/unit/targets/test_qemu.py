from dataclasses import replace
from pathlib import Path

from harness.targets.qemu.target import Guest, qemu_argv

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
    assert value(argv(), "-cpu") == "max,-hypervisor,-la57"


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
