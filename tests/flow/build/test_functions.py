"""The functions of a source file, from a program that a real compiler and linker made."""

import subprocess
from pathlib import Path

import pytest

from harness.build.functions import functions_of
from harness.errors import InfrastructureError

SOURCES = {
    "first.c": "static int __attribute__((noinline)) helper(int a) { return a * 3 + 1; }\n"
    "int first_of_all(int a) { return helper(a) + helper(a + 1); }\n"
    "static int __attribute__((noinline)) last(int a) { return a / 3; }\n"
    "int use_last(int a) { return last(a) + last(a + 2); }\n",
    "other.c": "static int __attribute__((noinline)) other_helper(int a) { return a ^ 5; }\n"
    "int other(int a) { return other_helper(a) + other_helper(a + 1); }\n"
    "static int __attribute__((noinline)) end(int a) { return a | 5; }\n"
    "int main(int c, char **v) { int first_of_all(int), use_last(int); (void)v;\n"
    "return first_of_all(c) + use_last(c) + other(c) + end(c) + end(c + 1); }\n",
}


def test_static_and_global_functions_of_one_file(tmp_path: Path) -> None:
    """None of the file's is missing, and none from the middle of another is among them."""
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    command = ["gcc", "-O1", "-fno-inline", "-o", "program", *SOURCES]
    subprocess.run(command, cwd=tmp_path, check=True)
    found = functions_of(tmp_path / "program", "first.c")
    assert {"helper", "first_of_all", "last", "use_last"} <= found
    assert not {"other_helper", "end"} & found


def test_what_is_no_kernel_is_refused(tmp_path: Path) -> None:
    """With the file in the message."""
    (tmp_path / "vmlinux").write_text("no ELF")
    with pytest.raises(InfrastructureError, match="vmlinux"):
        functions_of(tmp_path / "vmlinux", "vmalloc.c")
