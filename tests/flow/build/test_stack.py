"""Stack entries find their source lines, with the real compiler and binutils."""

import re
from dataclasses import replace

import pytest

from harness.build.stack import annotate_stack, locate_stack
from tests.flow.fakes import RecordingRunner

SOURCE = """\
static inline __attribute__((always_inline)) int inner(volatile int *at)
{
	*at = 1; /* line 3 */
	return *at;
}
int outer(volatile int *at)
{
	return inner(at); /* line 8 */
}
int _start(void) { volatile int x; return outer(&x); }
"""


@pytest.fixture
def kernel(tmp_path, runner, toy):
    """A kernel whose vmlinux is a small program, compiled as kbuild does: from below its tree."""
    from harness.build.kernel import BuiltKernel

    objects = tmp_path / "k" / "tree" / "objects"
    objects.mkdir(parents=True)
    (tmp_path / "k/tree/mm").mkdir()
    (tmp_path / "k/tree/mm/vmalloc.c").write_text(SOURCE)
    kernel = BuiltKernel.at(tmp_path / "k", toy())

    def compile_(output, *flags):
        argv = ["gcc", "-O1", "-nostdlib", "-static", *flags, "-o", str(output), "../mm/vmalloc.c"]
        runner.run(argv, cwd=objects, check=True)

    compile_(kernel.vmlinux, "-g")
    compile_(kernel.module, "-g", "-c")
    compile_(tmp_path / "k/without", "-g0")
    return kernel


def trace(kernel, runner, module=""):
    """An entry as a kernel prints it, from the symbol table of the real file."""
    file = kernel.module if module else kernel.vmlinux
    line = runner.run(["nm", "-S", str(file)], check=True).output
    size = int(re.search(r" (\w+) T outer$", line, re.MULTILINE)[1], 16)
    return f"[    1.0]  ? outer+0x1/0x{size:x}{module}\n[    1.0]  nowhere+0x1/0x2\n"


def test_an_inlined_call_shows_both_lines(kernel, runner):
    log = trace(kernel, runner)
    (place,) = locate_stack([log], kernel, runner).values()
    assert place == "mm/vmalloc.c:3 in mm/vmalloc.c:8"
    text = annotate_stack(log, locate_stack([log], kernel, runner))
    assert text.count("(mm/vmalloc.c:3 in mm/vmalloc.c:8)\n") == 1
    assert text.endswith("nowhere+0x1/0x2\n")


def test_the_modules_own_functions_are_found(kernel, runner):
    log = trace(kernel, runner, " [test_vmalloc]")
    assert locate_stack([log], kernel, runner) == {
        re.search(r"outer\S+", log)[0]: "mm/vmalloc.c:3 in mm/vmalloc.c:8"
    }


def test_without_debug_information_nothing_is_said(kernel, runner, tmp_path):
    bare = replace(kernel, vmlinux=tmp_path / "k/without", module=tmp_path / "missing")
    assert locate_stack([trace(kernel, runner)], bare, runner) == {}
    (tmp_path / "damaged").write_bytes(b"\x7fELF damaged")
    damaged = replace(kernel, vmlinux=tmp_path / "damaged")
    assert locate_stack([trace(kernel, runner)], damaged, runner) == {}


def test_a_hostile_log_costs_a_bounded_look_up(kernel):
    runner = RecordingRunner()
    log = "".join(f"f{n}+0x1/0x2 --help+0x1/0x2 $(reboot)+0x1/0x1\n" for n in range(5_000))
    assert locate_stack([log], kernel, runner) == {}
    assert runner.ran == [], "of nothing that the kernel has, no program is asked"
    real = trace(kernel, runner).split("\n")[0]
    log = "".join(real.replace("+0x1/", f"+{n:#x}/") + "\n" for n in range(1, 5_000))
    runner.ran.clear()
    assert locate_stack([log], kernel, runner)
    (argv,) = runner.ran
    assert len([word for word in argv if word.startswith("0x")]) == 200
