"""The compiled part: that it compiles, is kept, and knows the instructions that matter."""

import ctypes
from importlib.resources import files
from pathlib import Path

import pytest

from harness.errors import ToolError
from harness.targets.simulated.plugin import ensure_plugin, plugin_argv


class Decoded(ctypes.Structure):
    names = ("pause", "mark", "atomic", "string", "tracked", "opaque", "byte_store")
    _fields_ = [(name, ctypes.c_bool) for name in names]

    def said(self) -> set[str]:
        return {name for name in self.names if getattr(self, name)}


@pytest.fixture(scope="module")
def decode(tmp_path_factory):
    from harness.process import SubprocessRunner

    folder = tmp_path_factory.mktemp("decode")
    source = str(files("harness.targets.simulated") / "plugin" / "decode.c")
    library = folder / "decode.so"
    SubprocessRunner().run(["gcc", "-shared", "-fPIC", "-o", str(library), source], check=True)
    function = ctypes.CDLL(str(library)).decode
    function.restype = Decoded
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

    def call(code: str) -> set[str]:
        data = bytes.fromhex(code)
        return function(data, len(data)).said()

    return call


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        ("f390", "pause", {"pause", "tracked"}),
        ("90", "nop", {"tracked"}),
        ("4887d2", "xchg %rdx,%rdx", {"mark", "tracked"}),
        ("f00fb117", "lock cmpxchg %edx,(%rdi)", {"atomic", "tracked"}),
        ("8707", "xchg %eax,(%rdi)", {"atomic", "tracked"}),
        ("4887d1", "xchg %rdx,%rcx", {"tracked"}),
        ("f348ab", "rep stosq", {"string", "tracked", "opaque"}),
        ("8b4708", "mov 8(%rdi),%eax", {"tracked"}),
        ("c60700", "movb $0,(%rdi)", {"tracked", "byte_store"}),
        ("40884701", "mov %al,1(%rdi)", {"tracked", "byte_store"}),
        ("88c8", "mov %cl,%al", {"tracked"}),
        ("8b442408", "mov 8(%rsp),%eax", set()),
        ("89442408", "mov %eax,8(%rsp)", {"opaque"}),
        ("418b0424", "mov (%r12),%eax", {"tracked"}),
        ("65488b0425c0820200", "mov %gs:0x282c0,%rax", set()),
        ("65ff0425c0820200", "incl %gs:0x282c0", {"opaque"}),
        ("53", "push %rbx", {"opaque"}),
        ("5b", "pop %rbx", set()),
        ("e800000000", "call", {"opaque"}),
        ("0f31", "rdtsc", {"tracked", "opaque"}),
        ("ec", "in (%dx),%al", {"tracked", "opaque"}),
    ],
)
def test_instructions(decode, code, text, expected):
    assert decode(code) == expected, text


def test_any_bytes_are_decoded(decode):
    for first in range(256):
        for rest in ("", "00", "0000", "ff2400", "0fc7"):
            decode(f"{first:02x}{rest}")


def test_the_plugin_is_compiled_once(tmp_path, runner):
    library = ensure_plugin(tmp_path, runner)
    built = library.stat().st_mtime_ns
    assert ensure_plugin(tmp_path, runner) == library
    assert library.stat().st_mtime_ns == built


def test_the_plugin_compiles_without_a_warning(tmp_path, runner):
    folder = Path(str(files("harness.targets.simulated") / "plugin"))
    argv = plugin_argv("gcc", folder, tmp_path / "simulated.so")
    assert runner.run([*argv, "-Werror"]).output == ""


def test_no_compiler_is_a_clear_message(tmp_path, runner):
    with pytest.raises(ToolError, match="no-such-compiler not found"):
        ensure_plugin(tmp_path, runner, compiler="no-such-compiler")
