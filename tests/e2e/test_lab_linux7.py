"""The lab kernels of Linux 7.3 on the lab host in a box, each by another boot method."""

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.e2e.lab_bench import KERNELS

SOURCE = Path("/usr/src/linux-source-7.3.tar.xz")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not SOURCE.is_file(), reason="no source of 7.3: setup/install.sh linux7 installs it"
    ),
]


# The box is emulated: where its host is busy, TSC and HPET drift apart, and 7.3 reports it.
CLOCK = "tsc=nowatchdog"


def with_parameter(text, parameter):
    """Return a kernel file with one more boot parameter."""
    spec = YAML(typ="safe").load(text)
    spec["boot_parameters"] = [*spec.get("boot_parameters", []), parameter]
    return json.dumps(spec)


def test_a_lab_host_boots_the_lab_kernels_and_returns(bench):
    boots = []
    for method, name in (("kexec", "lab-vmap-nodes-7.3"), ("grub", "lab-single-node-7.3")):
        text = with_parameter((KERNELS / f"{name}.yaml").read_text(), CLOCK)
        (bench.folder / "kernels" / f"{name}.yaml").write_text(text)
        bench.connect_to_box(method)
        status, said = bench.run("run", bench.playbook(name))
        assert status == 0, said
        boots += bench.boots()
    assert [boot["verdict"] for boot in boots] == ["passed", "passed"]
    assert ["vmap_nodes=1" in boot["facts"]["argv"] for boot in boots] == [False, True]
    assert all(boot["facts"]["inventory"]["kernel"].startswith("7.3") for boot in boots)
    assert bench.on_known_good()
