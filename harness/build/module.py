"""test_vmalloc built from another tree, so that two kernels are measured by one module."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path

from harness.build.cache import Cache
from harness.build.kernel import BuiltKernel
from harness.build.sandbox import DEADLINE_S, SandboxPaths, contained_argv
from harness.build.tree import OBJECTS
from harness.build.tuxmake import first_error
from harness.errors import InputError
from harness.process import Runner

SOURCE = Path("lib/test_vmalloc.c")
_FORMAT = 1  # of the cache's entries; a change of how modules are built raises it
_CASE = re.compile(r'^\s*\{\s*"(\w+)"\s*,', re.MULTILINE)
_PARAMETER = re.compile(r"__param\(\s*\w+(?: \w+)*\s*,\s*(\w+)\s*,")
_GATE = re.compile(r"^.*\b(?:down_read|wait_for_completion|wait_event\w*)\(.*$", re.MULTILINE)


def with_module_of(
    kernel: BuiltKernel, other: BuiltKernel, cache: Cache | Path, runner: Runner
) -> BuiltKernel:
    """Return `kernel` with a module built from `other`'s test_vmalloc.c against `kernel`'s tree.

    The kernel itself when both files are alike. Raises InputError where it does not compile, with
    what differs between the two files.
    """
    ours, theirs = kernel.tree / SOURCE, other.tree / SOURCE
    source = theirs.read_bytes()
    if ours.read_bytes() == source:
        return kernel
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    key = hashlib.sha256(f"{_FORMAT} {kernel.key} ".encode() + source).hexdigest()[:32]
    entry = cache.place("modules", key)
    cache.hold(key)
    with cache.lock(key, lambda: None):
        if not entry.exists():
            with cache.attempt("modules", key) as folder:
                (folder / "Kbuild").write_text("obj-m := test_vmalloc.o\n", encoding="ascii")
                (folder / SOURCE.name).write_bytes(source)
                argv, made = module_argv(kernel, folder), folder / "test_vmalloc.ko"
                if kernel.contained:  # make runs programs of the kernel's tree
                    argv = contained_argv(argv, SandboxPaths((folder,), (kernel.tree,)), runner)
                done = runner.run(argv, deadline_s=DEADLINE_S)
                if done.returncode or made.is_symlink() or not made.is_file():
                    differences = describe_difference(
                        ours.read_text(errors="replace"), source.decode(errors="replace")
                    )
                    raise InputError(
                        f"module_source: same: test_vmalloc.c of {other.spec.name} does not "
                        f"compile for {kernel.spec.name}: {first_error(done.output)}\n"
                        f"  {kernel.spec.name} has {'; '.join(differences)}\n"
                        "  next: leave module_source out; the cases of both are compared then"
                    )
    return replace(kernel, module=entry / "test_vmalloc.ko")


def module_argv(kernel: BuiltKernel, folder: Path) -> list[str]:
    """Return the command that builds the module in `folder`; it writes nowhere else."""
    family, _, version = kernel.spec.toolchain.partition("-")
    suffix = f"-{version}" if version else ""
    arch, tree = kernel.spec.arch, kernel.tree
    prefix = arch.cross_prefix()
    options = [f"ARCH={arch.name}", f"CROSS_COMPILE={prefix}"] if prefix else []
    options += [f"LLVM={suffix or 1}"] if family == "clang" else [f"CC={prefix}gcc{suffix}"]
    return ["make", "-C", str(tree), f"O={tree / OBJECTS}", f"M={folder}", *options, "modules"]


def describe_difference(ours: str, theirs: str) -> list[str]:
    """Return how one test_vmalloc.c differs from another, as text: cases, parameters, start gate.

    The cases and parameters are read from the tables of the C file, the gate from the call on
    which workers wait for each other.
    """
    parts = []
    for what, pattern in (("case", _CASE), ("parameter", _PARAMETER)):
        here, there = pattern.findall(ours), pattern.findall(theirs)
        parts += [f"a {what} more: {name}" for name in here if name not in there]
        parts += [f"no {what} {name}" for name in there if name not in here]
    gates = [{line.strip() for line in _GATE.findall(text)} for text in (ours, theirs)]
    if gates[0] != gates[1]:
        parts.append("another start gate for its workers")
    return parts or ["the same cases, parameters and start gate"]
