"""An arm64 server as a lab host, for real: started by EFI, emulated, so it takes its time."""

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
    for boot in bench.whole_cycle():
        assert boot["facts"]["inventory"]["cpu"] == "Neoverse-N1"
        knobs = boot["facts"]["tuning"]["knobs"]
        assert knobs["address_randomisation"]["state"] == "set"
        assert knobs["governor"]["state"] == "absent"


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("without-network", "nobody confirmed this kernel"),  # the guard resets the machine
        ("hangs", "Waiting for root device"),  # the guard never starts: the power switch does
    ],
)
def test_it_returns_from_a_kernel_that_hangs(bench, kernel, words):
    bench.fails_at_boot(kernel, "no boot", words)
