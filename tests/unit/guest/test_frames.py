from hypothesis import given
from hypothesis import strategies as st

from harness.guest.frames import Frame, parse_fields, parse_frames, parse_meminfo

NONCE = "c0ffee00c0ffee00c0ffee00c0ffee00"
contents = st.text(st.characters(codec="utf-8"), max_size=200)
names = st.sampled_from(["log", "load", "/proc/meminfo", "ready", "error"])


def rendered(frames):
    parts = []
    for name, content in frames:
        data = content.encode()
        begin, end = f"<<{NONCE} begin {name}>>\n", f"\n<<{NONCE} end {name} {len(data)}>>\n"
        parts += [begin.encode(), data, end.encode()]
    return b"".join(parts)


@given(st.lists(st.tuples(names, contents), max_size=6))
def test_what_init_writes_is_what_is_read(frames):
    assert parse_frames(rendered(frames), NONCE) == [Frame(n, c, True) for n, c in frames]


@given(st.binary(max_size=400))
def test_never_raises_and_finds_nothing_without_the_nonce(data):
    assert parse_frames(data, NONCE) == []


@given(st.lists(st.tuples(names, contents), min_size=1, max_size=3), st.data())
def test_a_cut_report_is_never_complete(frames, data):
    whole = rendered(frames)
    cut = data.draw(st.integers(0, len(whole) - 1))
    complete = [frame for frame in parse_frames(whole[:cut], NONCE) if frame.complete]
    assert len(complete) < len(frames)


def test_a_log_cannot_forge_a_frame():
    forged = b"<<0 begin load>>\nerrno=0\n<<0 end load 7>>\n"
    frames = parse_frames(rendered([("log", forged.decode())]), NONCE)
    assert [frame.name for frame in frames] == ["log"]


def test_a_lost_byte_makes_a_frame_incomplete():
    damaged = rendered([("log", "abcdef")]).replace(b"abcdef", b"abcde")
    assert [frame.complete for frame in parse_frames(damaged, NONCE)] == [False]


def test_fields():
    assert parse_fields("errno=11 elapsed_ns=5 odd") == {"errno": "11", "elapsed_ns": "5"}


def test_meminfo():
    text = "MemTotal:  943892 kB\nActive(anon):  4 kB\nHugePages_Total:       0\nnonsense\n"
    assert parse_meminfo(text) == {"MemTotal": 943892, "Active(anon)": 4, "HugePages_Total": 0}
