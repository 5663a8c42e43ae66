import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.testmod.modinfo import parse_modinfo, parse_modinfo_text

OLD = (
    "Set tests specified in the mask.\n\n\t\tid: 1,    name: fix_size_alloc_test\n"
    "\t\tid: 16,   name: fix_align_alloc_test\n\t\tid: 1024, name: vm_map_ram_test\n"
)
NEW = OLD + "\t\tid: 2048, name: no_block_alloc_test\n\t\tid: 4096, name: vrealloc_test\n"


def modinfo(description):
    return (
        "description=vmalloc test module\0license=GPL\0parmtype=run_test_mask:int\0"
        f"parm=run_test_mask:{description}\0parmtype=use_huge:bool\0\0\0name=test_vmalloc\0"
        "intree=Y\0vermagic=6.12.117 SMP mod_unload \0"
    )


def elf(section):
    """Return an ELF64 object whose one section of content is .modinfo."""
    names = b"\0.modinfo\0.shstrtab\0"
    body = section + names
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 3, 2)
    entry = lambda name, kind, at, size: struct.pack(  # noqa: E731
        "<IIQQQQIIQQ", name, kind, 0, 0, at, size, 0, 0, 1, 0
    )
    table = bytes(64) + entry(1, 1, 64, len(section)) + entry(10, 3, 64 + len(section), len(names))
    return header + body + table


@pytest.mark.parametrize(("description", "cases"), [(OLD, 3), (NEW, 5)])
def test_parameters_and_cases_come_from_the_module_itself(description, cases):
    module = parse_modinfo(elf(modinfo(description).encode()))
    assert module.name == "test_vmalloc"
    assert {name: each.type for name, each in module.parameters.items()} == {
        "run_test_mask": "int",
        "use_huge": "bool",
    }
    assert len(module.cases) == cases
    assert module.cases["vm_map_ram_test"] == 1024


def test_a_module_without_cases_has_none():
    assert parse_modinfo_text("name=other\0parm=x:an x\0").cases == {}


def test_an_elf_file_without_the_section_is_refused():
    with pytest.raises(InputError, match=r"no \.modinfo"):
        parse_modinfo(elf(b"").replace(b".modinfo", b".another"))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused_politely(data):
    with pytest.raises(InputError):
        parse_modinfo(data)


@given(st.data())
def test_damage_is_refused_politely_or_harmless(data):
    module = bytearray(elf(modinfo(NEW).encode()))
    for _ in range(data.draw(st.integers(1, 4))):
        module[data.draw(st.integers(0, len(module) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        parse_modinfo(bytes(module[: data.draw(st.integers(0, len(module)))]))


@given(st.text())
def test_no_text_makes_it_raise(text):
    parse_modinfo_text(text)


def section_header(module, index, **fields):
    """Return `module` with fields of a section header changed, by their offset in it."""
    offsets = {"type": (4, "<I"), "flags": (8, "<Q"), "size": (32, "<Q")}
    changed = bytearray(module)
    (table,) = struct.unpack_from("<Q", module, 40)
    for name, value in fields.items():
        offset, form = offsets[name]
        struct.pack_into(form, changed, table + index * 64 + offset, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("index", "fields", "words"),
    [
        (1, {"flags": 0x800}, "compressed"),  # SHF_COMPRESSED: 1 MB can become gigabytes
        (1, {"type": 8, "size": 1 << 40}, "no bytes in the file"),  # SHT_NOBITS
        (1, {"size": 1 << 40}, "at most 1,048,576"),
    ],
)
def test_a_modinfo_that_costs_memory_is_refused(index, fields, words):
    zlib_header = struct.pack("<IIQQ", 1, 0, 1 << 40, 1)
    with pytest.raises(InputError, match=words):
        parse_modinfo(section_header(elf(zlib_header + modinfo(NEW).encode()), index, **fields))


def test_a_section_table_of_billions_is_refused():
    module = bytearray(section_header(elf(modinfo(NEW).encode()), 0, size=1 << 40))
    struct.pack_into("<H", module, 60, 0)  # e_shnum 0: the number is the first section's size
    with pytest.raises(InputError, match="sections"):
        parse_modinfo(bytes(module))
