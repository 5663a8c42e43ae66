"""Builds modules out of tree: another kernel's test_vmalloc, and vmapbench's own."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harness.build.cache import Cache
from harness.build.kernel import BuiltKernel
from harness.build.sandbox import DEADLINE_S, SandboxPaths, contained_argv
from harness.build.tree import OBJECTS
from harness.build.tuxmake import first_error
from harness.errors import InputError
from harness.process import Runner
from harness.testmod.own import own_sources

SOURCE = Path("lib/test_vmalloc.c")
_FORMAT = 2  # of cache entries; to be incremented when modules are built differently
_CASE = re.compile(r'^\s*\{\s*"(\w+)"\s*,', re.MULTILINE)
_PARAMETER = re.compile(r"__param\(\s*\w+(?: \w+)*\s*,\s*(\w+)\s*,")
_GATE = re.compile(r"^.*\b(?:down_read|wait_for_completion|wait_event\w*)\(.*$", re.MULTILINE)


def with_module_of(
    kernel: BuiltKernel, other: BuiltKernel, cache: Cache | Path, runner: Runner
) -> BuiltKernel:
    """Return `kernel` with a module built from `other`'s test_vmalloc.c against `kernel`'s tree.

    Returns `kernel` itself if both files are equal. Raises InputError with the differences of the
    two files if it does not compile.
    """
    ours, theirs = kernel.tree / SOURCE, other.tree / SOURCE
    source = theirs.read_bytes()
    if ours.read_bytes() == source:
        return kernel
    try:
        built = build_modules(kernel, {SOURCE.name: source}, cache, runner)
    except CompileError as error:
        differences = describe_difference(
            ours.read_text(errors="replace"), source.decode(errors="replace")
        )
        raise InputError(
            f"module_source: same: test_vmalloc.c of {other.spec.name} does not "
            f"compile for {kernel.spec.name}: {error}\n"
            f"  {kernel.spec.name} has {'; '.join(differences)}\n"
            "  next: leave out module_source; then the cases that both have are compared"
        ) from error
    return replace(kernel, module=built / "test_vmalloc.ko")


def with_own_modules(kernel: BuiltKernel, cache: Cache | Path, runner: Runner) -> BuiltKernel:
    """Return `kernel` with vmapbench's own modules, built against its tree.

    Raises InputError if one does not compile.
    """
    try:
        built = build_modules(kernel, own_sources(), cache, runner)
    except CompileError as error:
        raise InputError(
            f"vmapbench's own modules do not compile for {kernel.spec.name}: {error}\n"
            "  next: leave out workloads that name vmapbench_cases or fragment memory"
        ) from error
    return replace(kernel, own_modules=built)


class CompileError(Exception):
    """A module does not compile; the message is the compiler's first error."""


def build_modules(
    kernel: BuiltKernel, sources: Mapping[str, bytes], cache: Cache | Path, runner: Runner
) -> Path:
    """Return the folder with a NAME.ko for each NAME.c of `sources`, which has content by name.

    Modules are built once per kernel and content, below `cache`. Raises CompileError.
    """
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    digest = hashlib.sha256(f"{_FORMAT} {kernel.key} ".encode())
    for name, content in sorted(sources.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    key = digest.hexdigest()[:32]
    modules = [Path(name).stem for name in sources if name.endswith(".c")]
    entry = cache.place("modules", key)
    cache.hold(key)
    with cache.lock(key, lambda: None):
        if not entry.exists():
            with cache.attempt("modules", key) as folder:
                objects = " ".join(f"{name}.o" for name in modules)
                (folder / "Kbuild").write_text(f"obj-m := {objects}\n", encoding="ascii")
                for name, content in sources.items():
                    (folder / name).write_bytes(content)
                argv = module_argv(kernel, folder)
                if kernel.contained:  # make runs programs of the kernel's tree
                    argv = contained_argv(argv, SandboxPaths((folder,), (kernel.tree,)), runner)
                done = runner.run(argv, deadline_s=DEADLINE_S)
                made = [folder / f"{name}.ko" for name in modules]
                if done.returncode or any(ko.is_symlink() or not ko.is_file() for ko in made):
                    raise CompileError(first_error(done.output))
    return entry


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
    """Return, as text, how one test_vmalloc.c differs from another: cases, parameters, start gate.

    The start gate is the call on which workers wait for each other.
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
