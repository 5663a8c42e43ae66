"""Builds one kernel, from the pristine source to a folder with its artefacts and its record."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.build.cache import Cache, file_digest
from harness.build.features import allocator_features
from harness.build.fragments import (
    Configuration,
    choose,
    declared_symbols,
    ignored_requests,
    load_requests,
)
from harness.build.kconfig import critical_values, parse_config
from harness.build.layout import move_code
from harness.build.patches import apply_patches
from harness.build.plan import FORMAT, BuildPlan
from harness.build.record import RECORD, find_base, usual_total
from harness.build.sandbox import (
    DEADLINE_S,
    SandboxPaths,
    contained_argv,
    is_contained,
    require_sandbox,
)
from harness.build.start_config import LOCALYES, StartConfig, additions, start_text
from harness.build.tree import OBJECTS, changed_files, inodes, populate_tree, renew_differences
from harness.build.tuxmake import run_tuxmake, shim_compiler, tuxmake_argv
from harness.errors import InputError, KernelBuildError
from harness.files import replace_file
from harness.process import Runner
from harness.spec.architecture import Architecture

_ARTEFACTS = {  # beside the image; name in the entry: where kbuild leaves it
    "test_vmalloc.ko": "lib/test_vmalloc.ko",
    "vmlinux": "vmlinux",
    "System.map": "System.map",
    "config": ".config",
}


class BuildCallback(Protocol):
    """Receives the progress of a build. `total`: number of targets, None while unknown."""

    def __call__(self, phase: str, targets: int = 0, total: int | None = None) -> None:
        """Report a phase and the number of targets made."""


def build_kernel(
    plan: BuildPlan,
    pristine: Path,
    folder: Path,
    cache: Cache,
    runner: Runner,
    notify: BuildCallback,
) -> None:
    """Build `plan` into `folder`, and write its record last. Raises KernelBuildError."""
    started = time.monotonic()
    tree = folder / "tree"
    contained = is_contained(plan.spec)
    if contained:
        require_sandbox(runner)
    notify("preparing the tree")
    base = find_base(plan, cache, pristine)
    if base:
        cache.hold(base.key)
    based = populate_tree(pristine, tree, base, runner)
    before = inodes(tree)
    patches = apply_patches(tree, plan.patches, runner, contained=contained)
    move_code(tree, plan.spec.layout)
    patched = changed_files(before, inodes(tree))
    if base and based:
        renew_differences(tree, base, patched)
    notify("configuring")
    path = shim_compiler(plan.toolchain, folder, shutil.which)
    build = _Build(plan, folder, build_environment(pristine), runner, path, contained)
    configuration, added, dropped = _configure(build)
    total = None if based else usual_total(plan.spec.architecture, cache)
    notify("compiling", 0, total)
    targets = build.run("default", "tuxmake", lambda made: notify("compiling", made, total))
    notify("keeping the result", targets, targets)
    artefacts = _collect(plan.spec.arch, tree / OBJECTS, folder)
    release = own_file(tree / OBJECTS / "include/config/kernel.release", folder)
    declared = configuration.declared
    record = {
        "format": FORMAT,
        "key": plan.key,
        "inputs": plan.inputs,
        "origin": plan.source.origin,
        "spec": plan.spec.model_dump(mode="json"),
        "release": release.read_text(encoding="utf-8", errors="replace").strip(),
        "critical": critical_values(configuration.values, declared.own, declared.renamed),
        "chosen": configuration.chosen,
        "added": list(added),
        "dropped_modules": dropped,
        "features": allocator_features(pristine),  # a patch may be under test
        "patched": patched,
        "patches": [plan.spec.name_of(path) for path in patches],
        "contained": contained,
        "base": base.key if base and based else None,
        "built_in": str(tree),
        "targets": targets,
        "elapsed_s": round(time.monotonic() - started, 1),
        "artefacts": artefacts,
    }
    replace_file(folder / RECORD, json.dumps(record, indent=2) + "\n")


@dataclass(frozen=True)
class _Build:
    """How tuxmake is run for one kernel. `contained`: in a sandbox."""

    plan: BuildPlan
    folder: Path
    environment: Mapping[str, str]
    runner: Runner
    path: str | None  # a PATH whose first folder may hold the wanted compiler
    contained: bool

    @property
    def requested(self) -> Path:
        """File with the requested symbols, where a contained build cannot write."""
        return self.folder / "requested.config"

    @property
    def modules(self) -> Path:
        """File with the output of lsmod for localyesconfig."""
        return self.folder / "lsmod"

    def run(
        self,
        target: str,
        output: str,
        on_target: Callable[[int], None],
        kconfig: Sequence[str] = ("allnoconfig",),
    ) -> int:
        """Make `target` ("config" or "default") and return the number of kbuild's targets.

        `output`: folder of tuxmake's records; `kconfig`: as in `tuxmake_argv`. A contained build
        sees the source read-only, because its files are hard links to the pristine source.
        """
        tree, records = self.folder / "tree", self.folder / output
        environment = {**self.environment}
        if target == "config":
            environment["KCONFIG_ALLCONFIG"] = str(self.requested)
            environment |= {"LSMOD": str(self.modules)} if LOCALYES in kconfig else {}
        argv = tuxmake_argv(self.plan.toolchain, tree, records, target, environment, kconfig)
        log = self.folder / "build.log"
        if not self.contained:
            return run_tuxmake(argv, log, self.runner, on_target, self.path)
        records.mkdir(exist_ok=True)
        readable = (tree, self.requested, self.modules, self.folder / "toolchain")
        view = SandboxPaths((tree / OBJECTS, records), readable)
        argv = contained_argv(argv, view, self.runner, self.path)
        return run_tuxmake(argv, log, self.runner, on_target, deadline_s=DEADLINE_S)


def own_file(path: Path, folder: Path) -> Path:
    """Return `path`, a file that a build left below `folder`.

    Raises KernelBuildError if it is a link out of `folder`, which would be followed.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise KernelBuildError(f"the build left {path.name} as a link to {path.resolve()}")
    return path


def _configure(build: _Build) -> tuple[Configuration, Sequence[str], int]:
    """Write `.config` from the fragments and the configuration that the kernel starts from.

    Other symbols are as in the latter, or off without one. Returns the configuration, what was
    added to the latter, and the number of its modules that were dropped.
    """
    plan, tree = build.plan, build.folder / "tree"
    requests = load_requests(plan.fragments)
    declared = declared_symbols(tree, plan.spec.arch.source)
    for name in ignored_requests(requests, declared):
        del requests[name]
    if plan.start is None:
        return choose(requests, declared, lambda text: _make_config(build, text)), (), 0
    before = _start_values(build, plan.start)
    kept, dropped = start_text(before, requests)
    kconfig = [str(build.requested)]
    found = choose(requests, declared, lambda text: _make_config(build, kept + text, kconfig))
    return found, additions(before, found.values, requests), dropped


def _start_values(build: _Build, start: StartConfig) -> dict[str, str]:
    """Return the values, by symbol, of the start configuration after olddefconfig."""
    if start.target == LOCALYES:
        build.modules.write_text(start.modules, encoding="utf-8")
        return _make_config(build, start.text, [str(build.requested), LOCALYES])
    if not start.target:
        return _make_config(build, start.text, [str(build.requested)])
    arch = build.plan.spec.arch
    names = dict.fromkeys((arch.source, arch.name))  # make for x86_64 reads those of x86 as well
    places = [build.folder / "tree" / f"arch/{name}/configs" for name in names]
    known = sorted(path.name for place in places for path in place.glob("*defconfig"))
    if start.target not in (*known, "defconfig"):
        raise InputError(
            f"config: this source has no {start.target}; it has {', '.join(known) or 'none'}"
        )
    return _make_config(build, "", [start.target])


def _make_config(
    build: _Build, text: str, kconfig: Sequence[str] = ("allnoconfig",)
) -> dict[str, str]:
    """Return the values, by symbol, of the `.config` that `kconfig` makes from `text`."""
    made = build.folder / "tree" / OBJECTS / ".config"
    build.requested.write_text(text, encoding="utf-8")
    made.unlink(missing_ok=True)  # tuxmake configures only if there is none
    build.run("config", "tuxmake-config", lambda _: None, kconfig)
    return parse_config(own_file(made, build.folder).read_text(encoding="utf-8"))


def build_environment(pristine: Path) -> dict[str, str]:
    """Return variables that make builds independent of their folder, their time and each other.

    In ccache's depend mode a build from nothing takes a fifth less, but `.incbin` goes unnoticed:
    the compressed kernel in an image would be that of another build whose size is the same. The
    namespace keeps objects away that were stored in that mode.
    """
    released = datetime.fromtimestamp((pristine / "Makefile").stat().st_mtime, UTC)
    return {
        "KCFLAGS": "",
        "KBUILD_BUILD_TIMESTAMP": released.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "KBUILD_BUILD_VERSION": "1",  # else the number of links made in this tree
        "CCACHE_NODEPEND": "1",
        "CCACHE_NAMESPACE": "vmapbench",
    }


def _collect(arch: Architecture, objects: Path, folder: Path) -> dict[str, str]:
    """Copy the artefacts into `folder`; return their sha256 by name."""
    digests = {}
    for name, place in {arch.image: arch.image_path, **_ARTEFACTS}.items():
        if not own_file(objects / place, folder).is_file():
            raise KernelBuildError(f"the build made no {place}; is CONFIG_TEST_VMALLOC=m set?")
        shutil.copyfile(objects / place, folder / name)
        digests[name] = file_digest(folder / name)
    shutil.copyfile(
        own_file(folder / "tuxmake" / "metadata.json", folder), folder / "metadata.json"
    )
    return digests
