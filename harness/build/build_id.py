"""Build ids: digests that the linker puts into a kernel, and by which a running one is known."""

from pathlib import Path

from elftools.elf.elffile import ELFFile

_NT_GNU_BUILD_ID = 3


def build_id_in_notes(notes: bytes) -> str:
    """Return the GNU build id in a chain of ELF notes (/sys/kernel/notes), in hex, or nothing."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = (
            int.from_bytes(notes[at + i : at + i + 4], "little") for i in (0, 4, 8)
        )
        name_at = at + 12
        content_at = name_at + -(-name_size // 4) * 4
        name = notes[name_at : name_at + name_size].rstrip(b"\0")
        if kind == _NT_GNU_BUILD_ID and name == b"GNU":
            return notes[content_at : content_at + size].hex()
        at = content_at + -(-size // 4) * 4
    return ""


def build_id_of(vmlinux: Path) -> str:
    """Return the build id of a built kernel in hex; empty when it has none."""
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections("SHT_NOTE"):
            if found := build_id_in_notes(section.data()):
                return found
    return ""
