"""From a kernel specification to a built kernel, cached by content."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from harness.build.cache import Cache, file_digest
from harness.build.construct import build_kernel
from harness.build.kconfig import page_size, parse_config
from harness.build.plan import BuildPlan, plan_build
from harness.build.record import has_near_build, near_inputs, past_builds, read_record
from harness.build.sandbox import is_contained
from harness.build.source import ensure_source
from harness.errors import InputError, KernelBuildError
from harness.process import Runner
from harness.spec.kernel import KernelSpec


@dataclass(frozen=True)
class BuiltKernel:
    """A finished build. All paths are below `folder`, which is not written again."""

    spec: KernelSpec
    key: str  # content address: sha256 over source, patches, fragments, toolchain
    folder: Path
    image: Path  # bzImage or Image: what is booted
    module: Path  # test_vmalloc.ko
    vmlinux: Path
    system_map: Path
    config: Path
    release: str  # as reported by uname -r
    critical: Mapping[str, str]  # critical symbols and their values
    patches: Sequence[str] = ()  # that were applied; names below the kernels folder
    chosen: Mapping[str, str] = field(default_factory=dict)  # symbol -> alternative of a fragment
    features: Mapping[str, str] = field(default_factory=dict)  # of its source, see features.py
    added: Sequence[str] = ()  # symbols added to the start configuration
    dropped_modules: int = 0  # of the start configuration
    contained: bool = False  # programs of its tree, and those that read it, run in a sandbox
    own_modules: Path | None = None  # folder of vmapbench's own modules, if a playbook needs them

    @classmethod
    def at(
        cls,
        folder: Path,
        spec: KernelSpec,
        key: str = "",
        release: str = "",
        critical: Mapping[str, str] | None = None,
        patches: Sequence[str] = (),
        chosen: Mapping[str, str] | None = None,
        features: Mapping[str, str] | None = None,
        contained: bool = False,
        added: Sequence[str] = (),
        dropped_modules: int = 0,
    ) -> "BuiltKernel":
        """Return the build of `spec` with its artefacts, existing or not, in `folder`."""
        return cls(
            spec=spec,
            key=key,
            folder=folder,
            image=folder / spec.arch.image,
            module=folder / "test_vmalloc.ko",
            vmlinux=folder / "vmlinux",
            system_map=folder / "System.map",
            config=folder / "config",
            release=release,
            critical=critical or {},
            patches=patches,
            chosen=chosen or {},
            features=features or {},
            added=added,
            dropped_modules=dropped_modules,
            contained=contained,
        )

    @cached_property
    def page_size(self) -> int:
        """Size of its pages in bytes, from its configuration."""
        text = self.config.read_text(encoding="utf-8", errors="replace")
        return page_size(parse_config(text), self.spec.arch)

    @property
    def tree(self) -> Path:
        """The source as built; its objects are in `tree/objects`. For building modules against."""
        return self.folder / "tree"


@dataclass(frozen=True)
class BuildProgress:
    """Progress of a build. `total`: number of targets, None while unknown."""

    kernel: str
    phase: str
    targets: int = 0
    total: int | None = None


Progress = Callable[[BuildProgress], None]


def ensure_kernel(
    spec: KernelSpec, cache: Cache | Path, runner: Runner, progress: Progress
) -> BuiltKernel:
    """Return the built kernel of `spec`, built unless the cache has it.

    Raises KernelBuildError if it does not compile, InputError for errors in the kernel file, a
    patch or a fragment, InfrastructureError for failures of the machine.
    """
    cache = cache if isinstance(cache, Cache) else Cache(cache)
    cache.remove_dead_attempts()
    plan = plan_build(spec, cache, runner)
    entry = cache.place("kernels", plan.key)
    cache.hold(plan.key)
    if built := find_built(plan, cache):
        return built

    def notify(phase: str, targets: int = 0, total: int | None = None) -> None:
        progress(BuildProgress(spec.name, phase, targets, total))

    with cache.lock(plan.key, lambda: notify("waiting for another process that builds it")):
        if built := find_built(plan, cache):  # by the process that held the lock
            return built
        if entry.exists():
            notify("the cached build is damaged: building again")
            shutil.rmtree(entry)
        pristine = ensure_source(plan.source, cache, notify)
        with (
            _first_of_near_builds(plan, cache, notify),
            cache.attempt("kernels", plan.key) as folder,
        ):
            try:
                build_kernel(plan, pristine, folder, cache, runner, notify)
            except KernelBuildError as error:
                text = f"kernel {spec.name} does not build: {error}"
                raise KernelBuildError(text, _keep_log(plan, folder, cache)) from error
    return load_built(entry, spec)


@contextlib.contextmanager
def _first_of_near_builds(
    plan: BuildPlan, cache: Cache, notify: Callable[[str], None]
) -> Iterator[None]:
    """Let the first of several similar builds run alone, so that the others use its objects.

    Started together from nothing, each would compile everything.
    """
    with contextlib.ExitStack() as held:
        if not is_contained(plan.spec) and not has_near_build(plan, cache):
            text = json.dumps(near_inputs(plan.inputs), sort_keys=True)
            name = f"near-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
            message = "waiting for a build of the same source, to start from its objects"
            held.enter_context(cache.lock(name, lambda: notify(message)))
            if has_near_build(plan, cache):
                held.close()
        yield


def find_built(plan: BuildPlan, cache: Cache) -> BuiltKernel | None:
    """Return the finished build of `plan` if the cache has it and it is intact."""
    is_contained(plan.spec)  # an invalid value raises here, not for the build's sake
    try:
        return load_built(cache.place("kernels", plan.key), plan.spec)
    except InputError:
        return None


def load_built(folder: Path, spec: KernelSpec | None = None) -> BuiltKernel:
    """Return the finished build in `folder`, for `spec` or the spec of its record.

    Raises InputError if it is missing, unfinished, or an artefact has changed.
    """
    try:
        record = read_record(folder)
        for name, digest in record["artefacts"].items():
            if file_digest(folder / name) != digest:
                raise InputError(f"{folder / name}: its contents have changed since it was built")
        built_for = spec or KernelSpec.model_validate_json(json.dumps(record["spec"]))
        names = ("key", "release", "critical", "patches", "chosen", "features")
        facts = {name: record[name] for name in names}
        facts |= {n: record[n] for n in ("added", "dropped_modules") if n in record}
        contained = bool(record.get("contained")) or is_contained(built_for)
        return BuiltKernel.at(folder, built_for, contained=contained, **facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}: no finished build: {error}") from error


def newest_kernel(cache: Cache) -> BuiltKernel | None:
    """Return the intact kernel that was built last; None if there is none."""
    for folder, record in past_builds(cache):
        cache.hold(record["key"])
        with contextlib.suppress(InputError):
            return load_built(folder)
    return None


def _keep_log(plan: BuildPlan, folder: Path, cache: Cache) -> Path | None:
    """Move the log of a failed build to the cache's logs; return its path, None without a log."""
    log, kept = folder / "build.log", cache.place("logs", f"{plan.spec.name}-{plan.key[:12]}.log")
    return log.replace(kept) if log.is_file() else None
