import shutil
from pathlib import Path

import pytest

from harness.build.tuxmake import (
    Toolchain,
    first_error,
    probe_toolchain,
    shim_compiler,
    tuxmake_argv,
)
from harness.errors import ToolError
from harness.process import SubprocessRunner
from harness.spec.architecture import ARM64, X86_64


def test_no_absolute_path_reaches_the_compiler() -> None:
    argv = tuxmake_argv(
        Toolchain("gcc", "12", ccache=True), Path("/t"), Path("/o"), "default", {"KCFLAGS": ""}
    )
    assert "--environment=KCFLAGS=" in argv
    assert "--build-dir=/t/objects" in argv
    assert "--wrapper=ccache" in argv
    assert argv[-1] == "default"


def test_a_versioned_clang_is_told_to_make() -> None:
    toolchain = Toolchain("clang-14", "14", ccache=False)
    argv = tuxmake_argv(toolchain, Path("/t"), Path("/o"), "config", {})
    assert "--toolchain=clang" in argv
    assert "LLVM=-14" in argv


def test_a_versioned_gcc_goes_by_the_name_that_is_called(tmp_path: Path) -> None:
    path = shim_compiler(Toolchain("gcc-12", "12", ccache=True), tmp_path, lambda _: "/bin/true")
    assert path is not None
    for name in ("gcc", "x86_64-linux-gnu-gcc"):
        assert shutil.which(name, path=path) == str(tmp_path / "toolchain" / name)
    assert shim_compiler(Toolchain("gcc", "12", ccache=True), tmp_path, lambda _: None) is None


def test_a_missing_compiler_is_named(runner: SubprocessRunner) -> None:
    with pytest.raises(ToolError, match="toolchain clang-99 for x86_64: clang-99 is missing"):
        probe_toolchain("clang-99", X86_64, runner, lambda _: None)


@pytest.mark.skipif(ARM64.is_native(), reason="gcc needs no prefix here")
def test_a_missing_cross_compiler_is_named_with_the_way_to_it(runner: SubprocessRunner) -> None:
    with pytest.raises(ToolError, match=r"aarch64-linux-gnu-gcc is missing\n.*install.sh arm64"):
        probe_toolchain("gcc", ARM64, runner, lambda _: None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("  CC      a.o\na.c:12:3: error: expected ';'\nb.c:1:1: error: second\nmake: *** z\n",
         "a.c:12:3: error: expected ';'"),
        ("x.c:3:1: fatal error: no.h: No such file\n", "x.c:3:1: fatal error: no.h: No such file"),
        ("ld: mm/a.o: in function `f':\na.c:(.text+0x1): undefined reference to `g'\nmake: *** x",
         "a.c:(.text+0x1): undefined reference to `g'"),
        ("  CC      lib/error.o\n/bin/sh: 1: flex: not found\nmake: *** y\n",
         "/bin/sh: 1: flex: not found"),
        ("make: *** No rule to make target 'x'.  Stop.\n",
         "make: *** No rule to make target 'x'.  Stop."),
        ("  CC      a.o\n", "the build failed without an error message"),
    ],
)  # fmt: skip
def test_the_first_error_is_found(output: str, expected: str) -> None:
    assert first_error(output) == expected
