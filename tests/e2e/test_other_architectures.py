"""Kernels of other architectures than x86-64, cross-built and booted under TCG."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec
from harness.targets.base import BootRequest
from harness.targets.qemu.spec import QemuSpec
from harness.targets.qemu.target import make_target
from harness.testmod.log import missing_lines, parse_log
from harness.testmod.modinfo import parse_modinfo
from harness.testmod.workload import check_workload
from harness.verdict import Verdict

pytestmark = pytest.mark.long
REPOSITORY = Path(__file__).parents[2]
LOAD = {"nr_threads": 2, "run_test_mask": 7, "test_loop_count": 200}
# A kernel of an architecture that no shipped kernel has: its record and its fragment are all.
RISCV = """version: 1
architecture: riscv
source: {debian: linux-source-6.12}
fragments: [fragments/base.config, fragments/riscv.config]
"""


def boot(kernel, tmp_path, cpus=2):
    runner, module = SubprocessRunner(), parse_modinfo(kernel.module.read_bytes())
    load = check_workload(LOAD, module)
    spec = QemuSpec(kind="qemu", accelerator="auto")
    target = make_target(spec, tmp_path / "cache", runner, kernel.spec.arch)
    target.check()
    folder = tmp_path / "boot"
    folder.mkdir()
    memory = load.memory_mib(cpus, kernel.page_size)
    request = BootRequest(kernel, cpus, (load.render_parameters(),), memory, 60.0, folder)
    result = target.boot(request, lambda _: None)
    assert (result.verdict, result.reason) == (Verdict.PASSED, "")
    (run,) = parse_log(result.kernel_log)
    assert missing_lines(run, load.nr_threads, load.cases) == []
    assert result.facts["errors"] == []
    return result


@pytest.mark.parametrize(
    ("name", "page_size", "levels"),
    [
        ("arm64-4k", 4096, "4"),
        ("arm64-64k", 65536, "3"),
        ("arm64-4k-7.3", 4096, "4"),
        ("arm64-64k-7.3", 65536, "3"),
    ],
)
def test_arm64_boots_and_runs_the_module(built, needs, tmp_path, name, page_size, levels):
    needs("arm64")
    if "7.3" in name and not Path("/usr/src/linux-source-7.3.tar.xz").exists():
        pytest.skip("no source of 7.3: setup/install.sh linux7")
    kernel = built(name)
    assert kernel.page_size == page_size
    result = boot(kernel, tmp_path)
    assert result.facts["machine"] == "aarch64"
    assert int(result.facts["page_size"]) == page_size
    assert result.facts["conditions"] == {"paging_levels": levels}


def test_a_further_architecture_is_one_record_and_one_fragment(needs, tmp_path):
    needs("riscv")
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    (kernels / "further.yaml").write_text(RISCV)
    spec = load_kernel_spec("further", kernels)
    kernel = ensure_kernel(spec, cache_folder(), SubprocessRunner(), lambda _: None)
    result = boot(kernel, tmp_path)
    assert result.facts["machine"] == "riscv64"
    assert result.facts["conditions"] == {"paging_levels": "4"}


def vmapbench(tmp_path, *words):
    command = [sys.executable, "-m", "harness.cli.main", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_whole_chain_for_arm64(needs, tmp_path):
    needs("arm64")
    reports = tmp_path / "reports"
    vmapbench(tmp_path, "run", REPOSITORY / "playbooks/smoke-arm64.yaml", "--reports", reports)
    (folder,) = reports.glob("*-smoke-arm64-*")
    page = (folder / "index.html").read_text()
    assert "2 arm64 vCPUs on" in page
    assert re.search(r"6\.12\.\d+ for arm64", page)
    log = next(folder.rglob("kernel.log"))
    assert "fix_size_alloc_test" in vmapbench(tmp_path, "parse", log)
    for form in ("json", "csv", "kcidb", "junit"):
        written = vmapbench(tmp_path, "export", folder.name, "-f", form, "--reports", reports)
        assert form != "kcidb" or '"architecture": "arm64"' in written


@pytest.mark.parametrize("pages", ["4k", "64k"])
def test_every_address_on_arm64_is_predicted(needs, tmp_path, pages):
    needs("arm64")
    words = ("validate", f"arm64-{pages}-traced", "--json", "--loops", "8000")
    kernels = ("--kernels", REPOSITORY / "kernels", "--output", tmp_path)
    (result,) = json.loads(vmapbench(tmp_path, *words, *kernels))["validations"]
    assert result["faults"] == []
    for name in ("fix_size", "random_size", "random_size_align", "long_busy_list", "full_fit"):
        total, predicted = result["cases"][name]
        assert total == predicted > 7_200, name
