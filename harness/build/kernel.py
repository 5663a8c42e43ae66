"""From a kernel specification to a built kernel, cached by content."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.build.cache import Cache, file_digest, write_atomically
from harness.build.kconfig import check_requests, critical_values, parse_config
from harness.build.patches import apply_patches
from harness.build.source import PinnedSource, ensure_source, pin_source
from harness.build.tree import OBJECTS, BaseTree, lay_tree
from harness.build.tuxmake import (
    Toolchain,
    merge_fragments,
    probe_toolchain,
    run_tuxmake,
    shim_compiler,
    tuxmake_argv,
)
from harness.errors import InputError, KernelBuildError
from harness.process import Runner
from harness.spec.kernel import KernelSpec

FORMAT = 1  # of kernel.json and of everything below kernels/KEY
RECORD = "kernel.json"
_ARTEFACTS = {  # name in the entry: where kbuild leaves it
    "bzImage": "arch/x86/boot/bzImage",
    "test_vmalloc.ko": "lib/test_vmalloc.ko",
    "vmlinux": "vmlinux",
    "System.map": "System.map",
    "config": ".config",
}


@dataclass(frozen=True)
class BuiltKernel:
    """A finished build. All paths are below `folder`, which is never written again."""

    spec: KernelSpec
    key: str  # content address: sha256 over source, patches, fragments, toolchain
    folder: Path
    image: Path  # bzImage
    module: Path  # test_vmalloc.ko
    vmlinux: Path
    system_map: Path
    config: Path
    release: str  # what uname -r says
    critical: Mapping[str, str]  # measurement-critical symbols and their values ("n" when unset)

    @property
    def tree(self) -> Path:
        """The source as built; its objects are in `tree/objects`. For building modules against."""
        return self.folder / "tree"


@dataclass(frozen=True)
class BuildProgress:
    """Where a build stands. `total` is None while nobody knows how many targets there are."""

    kernel: str
    phase: str
    targets: int = 0
    total: int | None = None


Progress = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class BuildPlan:
    """Everything that a build depends on, pinned. Two equal keys are one build."""

    spec: KernelSpec
    source: PinnedSource
    patches: tuple[Path, ...]
    fragments: tuple[Path, ...]
    toolchain: Toolchain

    @property
    def inputs(self) -> dict[str, Any]:
        """Return what the key is made of, for the key and for people."""
        return {
            "format": FORMAT,
            "source": self.source.digest,
            "patches": [file_digest(path) for path in self.patches],
            "fragments": [file_digest(path) for path in self.fragments],
            "architecture": self.spec.architecture,
            "toolchain": [self.toolchain.name, self.toolchain.version],
        }

    @property
    def key(self) -> str:
        """Return the content address, 32 hex digits."""
        text = json.dumps(self.inputs, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def plan_build(spec: KernelSpec, cache: Cache, runner: Runner) -> BuildPlan:
    """Pin what `spec` names. Raises InputError or ToolError when something is not there."""
    files = {"patches": spec.patches, "fragments": spec.fragments}
    missing = [
        f"{key}: {spec.folder / name} does not exist"
        for key, names in files.items()
        for name in names
        if not (spec.folder / name).is_file()
    ]
    if missing:
        raise InputError(f"kernel {spec.name}: " + "; ".join(missing))
    return BuildPlan(
        spec,
        pin_source(spec, cache, runner),
        tuple(spec.folder / name for name in spec.patches),
        tuple(spec.folder / name for name in spec.fragments),
        probe_toolchain(spec.toolchain, runner, shutil.which),
    )


def ensure_kernel(
    spec: KernelSpec, cache: Cache | Path, runner: Runner, progress: Progress
) -> BuiltKernel:
    """Return the built kernel of `spec`, building it unless the cache has it whole.

    Raises KernelBuildError when it does not compile, InputError when the kernel file, a patch or
    a fragment is at fault, InfrastructureError when the machine is.
    """
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    plan = plan_build(spec, cache, runner)
    entry = cache.place("kernels", plan.key)
    if built := find_built(plan, cache):
        return built

    def tell(phase: str, targets: int = 0, total: int | None = None) -> None:
        progress(BuildProgress(spec.name, phase, targets, total))

    with cache.lock(plan.key, lambda: tell("waiting for another process that builds it")):
        if built := find_built(plan, cache):  # that other process has finished it
            return built
        if entry.exists():
            tell("the cached build is damaged: building again")
            shutil.rmtree(entry)
        pristine = ensure_source(plan.source, cache, lambda: tell("unpacking the source"))
        with cache.attempt("kernels", plan.key) as folder:
            try:
                _build(plan, pristine, folder, cache, runner, tell)
            except KernelBuildError as error:
                words = f"kernel {spec.name} does not build: {error}"
                raise KernelBuildError(words, _keep_log(plan, folder, cache)) from error
    return load_built(entry, spec)


def find_built(plan: BuildPlan, cache: Cache) -> BuiltKernel | None:
    """Return the finished build of `plan` if the cache has it and it is intact."""
    try:
        return load_built(cache.place("kernels", plan.key), plan.spec)
    except InputError:
        return None


def load_built(folder: Path, spec: KernelSpec | None = None) -> BuiltKernel:
    """Return the finished build in `folder`, for `spec` or the one that it was first built for.

    Raises InputError when it is not there, not finished, or an artefact has changed.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise InputError(f"{folder}: build of format {record['format']}, expected {FORMAT}")
        for name, digest in record["artefacts"].items():
            if file_digest(folder / name) != digest:
                raise InputError(f"{folder / name}: its contents have changed since it was built")
        return BuiltKernel(
            spec=spec or KernelSpec.model_validate_json(json.dumps(record["spec"])),
            key=record["key"],
            folder=folder,
            image=folder / "bzImage",
            module=folder / "test_vmalloc.ko",
            vmlinux=folder / "vmlinux",
            system_map=folder / "System.map",
            config=folder / "config",
            release=record["release"],
            critical=record["critical"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: no finished build: {error}") from error


def _build(
    plan: BuildPlan,
    pristine: Path,
    folder: Path,
    cache: Cache,
    runner: Runner,
    tell: Callable[..., None],
) -> None:
    """Build into `folder` and write its record, last."""
    started = time.monotonic()
    tree, log, environment = folder / "tree", folder / "build.log", _environment(pristine)
    tell("preparing the tree")
    base = find_base(plan, cache)
    based = lay_tree(pristine, tree, base, runner)
    apply_patches(tree, plan.patches, runner)
    tell("configuring")
    path = shim_compiler(plan.toolchain, folder, shutil.which)
    config = _configure(plan, tree, log, runner, environment, path)
    total = None if based else _usual_total(cache)
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
        "critical": critical_values(config),
        "base": base.key if base and based else None,
        "built_in": str(tree),
        "targets": targets,
        "elapsed_s": round(time.monotonic() - started, 1),
        "artefacts": artefacts,
    }
    write_atomically(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _configure(
    plan: BuildPlan,
    tree: Path,
    log: Path,
    runner: Runner,
    environment: Mapping[str, str],
    path: str | None,
) -> dict[str, str]:
    """Write `.config` from the fragments; every other symbol that can be off is off."""
    requested = merge_fragments(tree, list(plan.fragments), log, runner)
    output = tree.parent / "tuxmake-config"
    run_tuxmake(
        tuxmake_argv(
            plan.toolchain,
            tree,
            output,
            "config",
            {**environment, "KCONFIG_ALLCONFIG": str(requested)},
        ),
        log,
        runner,
        lambda _: None,
        path,
    )
    config = parse_config((tree / OBJECTS / ".config").read_text(encoding="utf-8"))
    check_requests(plan.fragments, config)
    return config


def _environment(pristine: Path) -> dict[str, str]:
    """Return variables that make a build the same in every folder and at every time.

    ccache reads the dependencies that kbuild asks for anyway; preprocessing every file first, as it
    does by default, makes a build from nothing a fifth longer.
    """
    released = int((pristine / "Makefile").stat().st_mtime)
    return {"KCFLAGS": "", "KBUILD_BUILD_TIMESTAMP": f"@{released}", "CCACHE_DEPEND": "1"}


def find_base(plan: BuildPlan, cache: Cache) -> BaseTree | None:
    """Return the finished tree whose objects are the best start: same source, same toolchain.

    One with the same fragments comes first, then the newest.
    """
    inputs, candidates = plan.inputs, []
    for path in cache.place("kernels", "x").parent.glob(f"*/{RECORD}"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            known, tree = record["inputs"], path.parent / "tree"
            same = all(known[key] == inputs[key] for key in ("format", "source", "toolchain"))
            if same and (tree / OBJECTS).is_dir():
                alike = known["fragments"] == inputs["fragments"]
                base = BaseTree(record["key"], tree, record["built_in"])
                candidates.append((alike, path.stat().st_mtime_ns, base))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(candidates, key=lambda candidate: candidate[:2])[2] if candidates else None


def _usual_total(cache: Cache) -> int | None:
    """Return how many targets a build from nothing had last time, for the progress display."""
    totals = []
    for path in cache.place("kernels", "x").parent.glob(f"*/{RECORD}"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["base"] is None:
                totals.append((path.stat().st_mtime_ns, int(record["targets"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return max(totals)[1] if totals else None


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


def _keep_log(plan: BuildPlan, folder: Path, cache: Cache) -> Path | None:
    """Move the log of a failed build to where it stays, and return that place."""
    log, kept = folder / "build.log", cache.place("logs", f"{plan.spec.name}-{plan.key[:12]}.log")
    return log.replace(kept) if log.is_file() else None
