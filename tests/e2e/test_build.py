"""Real kernels, in the cache that everything else uses: the first run builds them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.build.kconfig import critical_differences
from harness.build.kernel import BuiltKernel

KERNELS = Path(__file__).parents[2] / "kernels"
Built = Callable[[str], BuiltKernel]


def test_both_sides_differ_in_the_patch_alone(built: Built) -> None:
    one, other = built("single-node"), built("vmap-nodes")
    assert critical_differences({"one": one.critical, "other": other.critical}) == {}
    assert one.config.read_bytes() == other.config.read_bytes()
    assert one.release == other.release
    # the module does not know of the patch
    assert one.module.read_bytes() == other.module.read_bytes()
    assert b"vmap_nodes" in one.vmlinux.read_bytes()
    assert "vmap_nodes_setup" in one.system_map.read_text()
    assert "vmap_nodes_setup" not in other.system_map.read_text()
    assert built("node-limit").folder == one.folder


@pytest.mark.parametrize("name", ["vmap-nodes", "linux-6.1"])
def test_a_build_is_provenanced(built: Built, name: str) -> None:
    kernel = built(name)
    assert kernel.release.startswith("6.1" if name == "linux-6.1" else "6.12.")
    metadata = json.loads((kernel.folder / "metadata.json").read_text())
    assert metadata["results"]["status"] == "PASS"
    assert "gcc" in metadata["compiler"]["version_full"]
    assert kernel.critical["SLUB_TINY"] == ("absent" if name == "linux-6.1" else "n")
    assert kernel.critical["CC_OPTIMIZE_FOR_SIZE"] == "n"


def test_no_path_of_the_build_reaches_the_compiler(built: Built) -> None:
    objects = built("vmap-nodes").tree / "objects"
    assert str(cache_folder()) not in (objects / "mm/.vmalloc.o.cmd").read_text()


def test_the_command_line_finds_what_is_built(built: Built) -> None:
    folder = built("vmap-nodes").folder
    argv = [sys.executable, "-c", "from harness.cli.main import main; main()", "build"]
    done = subprocess.run(
        [*argv, "vmap-nodes", "--json", f"--kernels={KERNELS}"],
        capture_output=True,
        check=True,
        text=True,
    )
    (row,) = json.loads(done.stdout)
    assert row["folder"] == str(folder)
    assert done.stderr == ""
