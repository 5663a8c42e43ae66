"""Lab hosts for real, under kernels that fail in every way.

Each time the host must return to its known-good kernel.
"""

import contextlib
from dataclasses import replace

import pytest
from elftools.elf.elffile import ELFFile

from harness.targets.base import BootRequest
from harness.verdict import Verdict
from tests.e2e.lab_bench import LONG_LOAD


@pytest.mark.parametrize(
    ("kernel", "verdict", "words"),
    [
        ("panics", "crashed", "Unable to mount root"),
        pytest.param(
            *("without-network", "no boot", "nobody confirmed this kernel"), marks=pytest.mark.long
        ),
        ("hangs", "no boot", "Waiting for root device"),
    ],
)
def test_a_kernel_that_fails_at_boot(bench, kernel, verdict, words):
    bench.fails_at_boot(kernel, verdict, words)


def test_a_module_that_oopses(bench, built, tmp_path, monkeypatch):
    monkeypatch.chdir(bench.folder)
    kernel = built("lab-vmap-nodes")
    module = tmp_path / "test_vmalloc.ko"
    module.write_bytes(with_undefined_instruction(kernel.module))
    target = bench.target()
    folder = tmp_path / "boot"
    folder.mkdir()
    with contextlib.closing(target):
        target.check()
        request = BootRequest(replace(kernel, module=module), 2, ("nr_threads=2",), 512, 30, folder)
        result = target.boot(request, lambda _: None)
    assert result.verdict is Verdict.CRASHED, result.reason
    assert "invalid opcode" in (folder / "console.log").read_text()
    assert bench.on_known_good()


def with_undefined_instruction(module):
    """Return a module whose init function begins with UD2, clear of what the loader relocates."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        (init,) = elf.get_section_by_name(".symtab").get_symbol_by_name("init_module")
        index = init["st_shndx"]
        section = elf.get_section(index)
        moved = {
            relocation["r_offset"]
            for relocations in elf.iter_sections("SHT_RELA")
            if relocations["sh_info"] == index
            for relocation in relocations.iter_relocations()
        }
    start = init["st_value"]
    at = start + 5 if start + 1 in moved else start  # a call to be traced comes first
    content = bytearray(module.read_bytes())
    content[section["sh_offset"] + at : section["sh_offset"] + at + 2] = b"\x0f\x0b"
    return bytes(content)


def test_a_reboot_in_the_middle_is_no_result(bench):
    process = bench.start("run", bench.playbook("lab-vmap-nodes", load=LONG_LOAD))
    bench.wait_until(process, bench.testing)
    bench.box.qmp("system_reset")
    assert process.wait() == 0, (bench.folder / "harness.log").read_text()
    assert [boot["verdict"] for boot in bench.boots()] == ["interrupted", "passed"]
    assert bench.on_known_good()
