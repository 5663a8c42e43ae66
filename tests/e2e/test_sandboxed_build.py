"""A whole Linux built in the sandbox, through the command line, and what it must not have seen."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_linux_builds_in_the_sandbox(tmp_path):
    """From nothing: a contained build shares neither objects nor the compiler's cache."""
    environment = os.environ | {"VMAPBENCH_CACHE": str(tmp_path / "cache"), "API_TOKEN": "hidden"}
    argv = [sys.executable, "-m", "harness.cli.main", "--sandbox", "build", "linux-6.1"]
    argv += ["--kernels", str(KERNELS), "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = json.loads(done.stdout)
    assert built["contained"]
    folder = Path(built["folder"])
    record = json.loads((folder / "kernel.json").read_text())
    assert (record["contained"], record["base"]) == (True, None)
    assert json.loads((folder / "metadata.json").read_text())["results"]["status"] == "PASS"
    for name in ("bzImage", "vmlinux", "test_vmalloc.ko"):
        assert (folder / name).stat().st_size > 0
    assert "hidden" not in (folder / "build.log").read_text()
