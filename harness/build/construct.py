"""One build, from the pristine source to a folder with its artefacts and its record."""

import json
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.build.cache import Cache, file_digest
from harness.build.features import allocator_features
from harness.build.fragments import Configuration, choose, declared_symbols, load_requests
from harness.build.kconfig import critical_values, parse_config
from harness.build.patches import apply_patches
from harness.build.plan import FORMAT, BuildPlan
from harness.build.record import RECORD, find_base, usual_total
from harness.build.tree import OBJECTS, lay_tree
from harness.build.tuxmake import run_tuxmake, shim_compiler, tuxmake_argv
from harness.errors import KernelBuildError
from harness.files import replace_file
from harness.process import Runner

_ARTEFACTS = {  # name in the entry: where kbuild leaves it
    "bzImage": "arch/x86/boot/bzImage",
    "test_vmalloc.ko": "lib/test_vmalloc.ko",
    "vmlinux": "vmlinux",
    "System.map": "System.map",
    "config": ".config",
}


class Tell(Protocol):
    """Takes what a build is at. `total` is None while nobody knows how many targets there are."""

    def __call__(self, phase: str, targets: int = 0, total: int | None = None) -> None:
        """Show it."""


def build_kernel(
    plan: BuildPlan,
    pristine: Path,
    folder: Path,
    cache: Cache,
    runner: Runner,
    tell: Tell,
) -> None:
    """Build into `folder` and write its record, last."""
    started = time.monotonic()
    tree, log, environment = folder / "tree", folder / "build.log", _environment(pristine)
    tell("preparing the tree")
    base = find_base(plan, cache, pristine)
    if base:
        cache.hold(base.key)
    based = lay_tree(pristine, tree, base, runner)
    patches = apply_patches(tree, plan.patches, runner)
    tell("configuring")
    path = shim_compiler(plan.toolchain, folder, shutil.which)
    configuration = _configure(plan, tree, log, runner, environment, path)
    total = None if based else usual_total(cache)
    tell("compiling", 0, total)
    targets = run_tuxmake(
        tuxmake_argv(plan.toolchain, tree, folder / "tuxmake", "default", environment),
        log,
        runner,
        lambda made: tell("compiling", made, total),
        path,
    )
    tell("keeping the result", targets, targets)
    artefacts = _collect(tree / OBJECTS, folder)
    record = {
        "format": FORMAT,
        "key": plan.key,
        "inputs": plan.inputs,
        "origin": plan.source.origin,
        "spec": plan.spec.model_dump(mode="json"),
        "release": (tree / OBJECTS / "include/config/kernel.release").read_text().strip(),
        "critical": critical_values(configuration.values, configuration.declared),
        "chosen": configuration.chosen,
        "features": allocator_features(pristine),  # a patch may be what is to be judged
        "patches": [plan.spec.name_of(path) for path in patches],
        "base": base.key if base and based else None,
        "built_in": str(tree),
        "targets": targets,
        "elapsed_s": round(time.monotonic() - started, 1),
        "artefacts": artefacts,
    }
    replace_file(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _configure(
    plan: BuildPlan,
    tree: Path,
    log: Path,
    runner: Runner,
    environment: Mapping[str, str],
    path: str | None,
) -> Configuration:
    """Write `.config` from the fragments; every other symbol that can be off is off."""
    requested, made = tree / OBJECTS / "requested.config", tree / OBJECTS / ".config"
    asking = {**environment, "KCONFIG_ALLCONFIG": str(requested)}
    argv = tuxmake_argv(plan.toolchain, tree, tree.parent / "tuxmake-config", "config", asking)

    def configure(text: str) -> dict[str, str]:
        requested.write_text(text, encoding="utf-8")
        made.unlink(missing_ok=True)  # tuxmake configures only where there is none
        run_tuxmake(argv, log, runner, lambda _: None, path)
        return parse_config(made.read_text(encoding="utf-8"))

    return choose(load_requests(plan.fragments), declared_symbols(tree), configure)


def _environment(pristine: Path) -> dict[str, str]:
    """Return variables that make a build the same in every folder and at every time.

    ccache reads the dependencies that kbuild asks for anyway; preprocessing every file first, as it
    does by default, makes a build from nothing a fifth longer.
    """
    released = datetime.fromtimestamp((pristine / "Makefile").stat().st_mtime, UTC)
    return {
        "KCFLAGS": "",
        "KBUILD_BUILD_TIMESTAMP": released.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "KBUILD_BUILD_VERSION": "1",  # else it counts the links of this tree
        "CCACHE_DEPEND": "1",
    }


def _collect(objects: Path, folder: Path) -> dict[str, str]:
    """Copy the artefacts into `folder`; return name to sha256."""
    digests = {}
    for name, place in _ARTEFACTS.items():
        if not (objects / place).is_file():
            raise KernelBuildError(f"the build made no {place}; is CONFIG_TEST_VMALLOC=m set?")
        shutil.copyfile(objects / place, folder / name)
        digests[name] = file_digest(folder / name)
    shutil.copyfile(folder / "tuxmake" / "metadata.json", folder / "metadata.json")
    return digests
