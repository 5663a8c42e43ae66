"""From a kernel specification to a built kernel, cached by content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.spec.kernel import KernelSpec


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
