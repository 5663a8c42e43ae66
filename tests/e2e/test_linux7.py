"""Linux 7.2 and 7.3: built, booted without a mask, and the same twice on the simulated machine.

What the reference model says of 7.3 is in test_kernels_as_designed.py.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testmod.modinfo import parse_modinfo

REPOSITORY = Path(__file__).parents[2]
LOGS = ("kernel.log", "console.log", "waits-1.txt")  # of one boot
PLAYBOOK = """\
version: 1
kernels: [{kernel}]
baseline: {kernel}
target: {target}
workloads:
  - name: quick
    parameters: {parameters}
    expected_s: 300
repeats: 1
noise: {{other_share: 1.0, steal_share: 1.0}}
"""


KERNELS = ("linux-7.2", "linux-7.3")
SOURCES = [Path("/usr/src") / name.replace("linux-", "linux-source-") for name in KERNELS]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not all(Path(f"{source}.tar.xz").is_file() for source in SOURCES),
        reason="no sources of Linux 7: setup/install.sh linux7 installs them",
    ),
]


def run(folder, kernel, target, parameters):
    """Run one boot; return it, and the folder of its run."""
    folder.mkdir()
    playbook = folder / "seven.yaml"
    playbook.write_text(PLAYBOOK.format(kernel=kernel, target=target, parameters=parameters))
    argv = [sys.executable, "-m", "harness.cli.main", "run", str(playbook)]
    argv += ["--kernels", str(REPOSITORY / "kernels"), "--reports", str(folder / "reports")]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    latest = folder / "reports/latest"
    (boot,) = json.loads((latest / "results.json").read_text())["boots"]
    return boot, latest


@pytest.mark.parametrize("name", KERNELS)
def test_the_kernel_says_what_it_is(built, name):
    kernel = built(name)
    module = parse_modinfo(kernel.module.read_bytes())
    assert kernel.features["small_pools"] == "none"
    assert kernel.chosen["PREEMPT_VOLUNTARY"] == "CONFIG_PREEMPT_LAZY=y"
    assert kernel.critical["SLUB_CPU_PARTIAL"] == "absent"
    assert (len(module.cases), module.defaults["run_test_mask"]) == (13, 7)


@pytest.mark.parametrize("name", KERNELS)
def test_a_workload_without_a_mask_runs_the_modules_own(tmp_path, name):
    boot, _ = run(
        tmp_path / "qemu",
        name,
        "{kind: qemu, cpus: 2, accelerator: tcg}",
        "{nr_threads: 2, test_loop_count: 200}",
    )
    assert boot["verdict"] == "passed"
    assert boot["facts"]["conditions"] == {"paging_levels": "4"}


def test_the_simulated_machine_repeats_bit_for_bit(tmp_path):
    logs = []
    for name in ("one", "two"):
        boot, folder = run(
            tmp_path / name,
            "linux-7.3",
            "{kind: simulated, cpus: 2, machine: threadripper-3970x}",
            "{nr_threads: 2, run_test_mask: 1, test_loop_count: 200}",
        )
        assert boot["verdict"] == "passed"
        logs.append([(folder / boot["folder"] / file).read_bytes() for file in LOGS])
    assert logs[0] == logs[1]
