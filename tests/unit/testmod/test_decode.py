import gzip
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InputError
from harness.testmod import decode
from harness.testmod.decode import decode_log

TEXT = "[    1.2] Hello\n[    1.3] BUG: soft lockup\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_unicode_and_any_end_of_line_is_one_text(encoding, ending):
    assert decode_log(TEXT.replace("\n", ending).encode(encoding)) == (TEXT, [])


def test_gzip_is_unpacked_up_to_a_limit(monkeypatch):
    assert decode_log(gzip.compress(TEXT.encode())) == (TEXT, [])
    monkeypatch.setattr(decode, "TEXT_BYTES", 1 << 20)
    bomb = gzip.compress(b"\n" * (64 << 20))
    tracemalloc.start()
    with pytest.raises(InputError, match="larger than 1 MiB; split it"):
        decode_log(bomb)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 16 << 20


def test_gzip_files_one_behind_the_other_are_one_log():
    assert decode_log(gzip.compress(TEXT.encode()) * 3 + bytes(9)) == (TEXT * 3, [])


def test_of_a_damaged_gzip_file_the_whole_part_is_read_and_the_damage_named():
    packed = gzip.compress(TEXT.encode())
    for damaged in (packed[:-9], packed[:-8] + b"\xff" * 8, packed + b"\x1f\x8b"):
        text, (remark,) = decode_log(damaged)
        assert text == TEXT
        assert "gzip file is damaged" in remark
    with pytest.raises(InputError, match="damaged gzip"):
        decode_log(b"\x1f\x8b\x08damaged")


def test_json_cut_anywhere_gives_its_whole_records_and_the_rest_as_it_is():
    records = [{"pri": 6, "time": 1.5, "msg": "one\ntwo"}, {"pri": 3, "time": 2.0, "msg": "BUG: x"}]
    whole = json.dumps({"dmesg": records}, indent=3)
    text, _ = decode_log(whole.encode())
    assert text.split("\n") == [
        "<6>[    1.500000] one",
        "<6>[    1.500000] two",
        "<3>[    2.000000] BUG: x",
    ]
    for cut in range(20, len(whole)):
        assert isinstance(decode_log(whole[:cut].encode())[0], str)
    assert "BUG: x" in decode_log(whole[:-12].encode())[0]


def test_a_journal_s_json_tells_who_speaks():
    lines = [
        {"_TRANSPORT": "kernel", "MESSAGE": list(b"\x1b[31mBUG: bytes")},
        {"_TRANSPORT": "syslog", "SYSLOG_IDENTIFIER": "qemu", "MESSAGE": "BUG: a guest's"},
        {"_TRANSPORT": "kernel", "MESSAGE": None},
    ]
    text, _ = decode_log("\n".join(map(json.dumps, lines)).encode())
    assert text.split("\n") == ["<6>\x1b[31mBUG: bytes", "<14>qemu: BUG: a guest's"]


def test_a_line_longer_than_any_kernel_s_is_cut_and_that_is_said():
    summary = "Summary: a_test passed: 1 failed: 0 repeat: 1 loops: 1 avg: 1 usec "
    text, remarks = decode_log(f"first\n{summary * 10_000}\n".encode())
    assert len(text) < 9_000
    assert remarks == ["line 2 has 670,000 characters, only the first 8,192 were read"]


@given(st.binary(max_size=200), st.sampled_from([b"", b"{", b'{"dmesg":[{"msg":', b"\x1f\x8b"]))
def test_no_bytes_make_it_raise_anything_else(data, head):
    try:
        text, remarks = decode_log(head + data)
    except InputError:
        return
    assert isinstance(text, str)
    assert isinstance(remarks, list)


@pytest.mark.parametrize("data", ['{"a":' * 40_000, '{"msg": "x"} ' * 20_000, "{" * 100_000])
@pytest.mark.timeout(20)
def test_hostile_json_ends(data):
    decode_log(data.encode())
