"""An arm64 server as a lab host, for real: started by EFI, emulated, so it takes its time."""

import json
import shutil
import subprocess

import pytest

from tests.e2e.lab_image import ARM64_SERVER

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def machine(needs):
    needs("arm64")
    tools = ("arch-test", "mcopy")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing or subprocess.run(["arch-test", "arm64"], check=False).returncode:
        words = ", ".join(missing) or "what runs arm64 programs here"
        pytest.skip(f"{words} missing: setup/install.sh arm64 lab-arm64")
    return ARM64_SERVER


def test_the_whole_cycle(bench):
    """Each kernel by another boot method; to both the machine is the same."""
    boots = []
    for method, kernel in zip(("kexec", "grub"), bench.machine.kernels, strict=True):
        bench.connect_to_box(method)
        status, said = bench.run("run", bench.playbook(kernel))
        assert status == 0, said
        boots += bench.boots()
    assert [boot["verdict"] for boot in boots] == ["passed", "passed"]
    assert ["vmap_nodes=1" in boot["facts"]["argv"] for boot in boots] == [False, True]
    for boot in boots:
        assert boot["facts"]["inventory"]["kernel"].startswith("6.12")
        assert boot["facts"]["inventory"]["cpu"] == "Neoverse-N1"
        knobs = boot["facts"]["tuning"]["knobs"]
        assert knobs["address_randomisation"]["state"] == "set"
        assert knobs["governor"]["state"] == "absent"
    assert boots[0]["facts"]["conditions"] == boots[1]["facts"]["conditions"]
    assert bench.on_known_good()


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("without-network", "nobody confirmed this kernel"),  # the guard resets the machine
        ("hangs", "Waiting for root device"),  # the guard never starts: the power switch does
    ],
)
def test_it_returns_from_a_kernel_that_hangs(bench, kernel, words):
    console = json.dumps(["tail", "-n", "0", "-F", str(bench.box.serial)])
    bench.connect_to_box(console=console)
    status, said = bench.run("run", bench.playbook(kernel))
    assert status == 1, said
    assert [boot["verdict"] for boot in bench.boots()] == ["no boot"], bench.boots()[0]["reason"]
    assert words in bench.seen()
    assert bench.on_known_good()
