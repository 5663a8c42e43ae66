"""What a build depends on, with exact versions; its digest is the build's key in the cache."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.build.cache import Cache, file_digest
from harness.build.patches import patch_forms
from harness.build.source import PinnedSource, pin_source
from harness.build.start_config import StartConfig, read_start_config, required_fragments
from harness.build.tuxmake import Toolchain, probe_toolchain
from harness.errors import InputError
from harness.process import Runner
from harness.spec.kernel import KernelSpec

FORMAT = 4  # of kernel.json and of everything below kernels/KEY


# Builds with equal values of these share nearly all their objects.
NEAR_INPUTS = ("source", "fragments", "architecture", "toolchain", "config")
OPTIONAL_INPUTS = frozenset({"config", "layout"})  # in the key only of kernels that have them


@dataclass(frozen=True)
class BuildPlan:
    """Everything that a build depends on. Plans with equal keys are the same build."""

    spec: KernelSpec
    source: PinnedSource
    patches: tuple[Path, ...]
    fragments: tuple[Path, ...]
    toolchain: Toolchain
    start: StartConfig | None = None  # configuration to start from

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the inputs of the key, which the build's record shows."""
        return {
            "format": FORMAT,
            "source": self.source.digest,
            "patches": [[file_digest(form) for form in patch_forms(path)] for path in self.patches],
            "fragments": [file_digest(path) for path in self.fragments],
            "architecture": self.spec.architecture,
            "toolchain": [self.toolchain.name, self.toolchain.version],
            **({"config": self.start.inputs} if self.start else {}),
            **({"layout": self.spec.layout} if self.spec.layout else {}),
        }

    @property
    def key(self) -> str:
        """Return the content address, 32 hex digits."""
        text = json.dumps(self.inputs, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def plan_build(spec: KernelSpec, cache: Cache, runner: Runner) -> BuildPlan:
    """Resolve `spec` to exact inputs. Raises InputError or ToolError if something is missing."""
    cache.check_path()
    patches = tuple(spec.place(name) for name in spec.patches)
    start = read_start_config(spec)
    names = (*required_fragments(spec), *spec.fragments)
    fragments = tuple(spec.place(name) for name in dict.fromkeys(names))
    missing = [
        *(f"patches: {path} does not exist" for path in patches if not patch_forms(path)),
        *(f"fragments: {path} does not exist" for path in fragments if not path.is_file()),
    ]
    if missing:
        raise InputError(f"kernel {spec.name}: " + "; ".join(missing))
    return BuildPlan(
        spec,
        pin_source(spec, cache, runner),
        patches,
        fragments,
        probe_toolchain(spec.toolchain, spec.arch, runner, shutil.which),
        start,
    )
