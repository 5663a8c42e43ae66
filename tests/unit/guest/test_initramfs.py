import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.guest.initramfs import (
    CpioEntry,
    base_archive,
    measuring_script,
    render_cpio,
    render_script,
)

names = st.text("abcdefgh/._-", min_size=1, max_size=30).filter(lambda n: n.strip("/") == n)


def read_cpio(archive):
    """An independent reader of the newc format: name -> (mode, content)."""
    found, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        start = at + 110 + name_size
        start += -start % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], archive[start : start + size])
        at = start + size + (-(start + size) % 4)


@given(st.dictionaries(names, st.binary(max_size=600), max_size=6))
def test_an_independent_reader_finds_every_file(files):
    archive = render_cpio([CpioEntry(n, stat.S_IFREG | 0o644, c) for n, c in files.items()])
    assert len(archive) % 512 == 0
    assert {name: content for name, (_, content) in read_cpio(archive).items()} == files


def test_archives_are_the_same_every_time():
    assert base_archive(b"a", b"b") == base_archive(b"a", b"b")


def test_a_line_cannot_smuggle_another_in():
    with pytest.raises(ValueError, match="line end or NUL"):
        render_script("00", ["load nr_threads=1\nwrite /proc/sysrq-trigger c"])


def test_measuring_script_loads_each_once_and_ends_with_the_log():
    script = measuring_script(["a=1", "b=2"])
    assert [line for line in script if line.startswith("load")] == ["load a=1", "load b=2"]
    assert script[-1] == "log"
