"""A toy kernel that really builds in a second, and a cache of its own for every test."""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.cache import Cache
from harness.spec.kernel import KernelSpec

TOY = Path(__file__).parents[2] / "toy_kernel"
PATCH = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
Subject: [PATCH] mm/vmalloc: Return two

---
--- a/mm/vmalloc.c
+++ b/mm/vmalloc.c
@@ -1,5 +1,5 @@
 /* a stand-in */
 int vmalloc_value(void)
 {
-\treturn 1;
+\treturn 2;
 }
"""


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernels folder with a toy tarball, a fragment and a patch."""
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    folder = tmp_path / "kernels"
    folder.mkdir()
    with tarfile.open(folder / "toy.tar.xz", "w:xz") as archive:
        archive.add(TOY, "toy-6.99")
    (folder / "base.config").write_text("CONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_TEST_VMALLOC=m\n")
    (folder / "two.patch").write_text(PATCH)
    return folder


@pytest.fixture
def toy(kernels: Path) -> Callable[..., KernelSpec]:
    """Return a kernel specification; keywords replace keys of the plain toy kernel."""

    def make(**changes: object) -> KernelSpec:
        plain: dict[str, object] = {
            "version": 1,
            "name": "toy",
            "source": {"tarball": "toy.tar.xz"},
            "fragments": ("base.config",),
            "folder": kernels,
        }
        return KernelSpec.model_validate({**plain, **changes})

    return make


@pytest.fixture
def toy_tree(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TOY, tmp_path / "toy-tree"))
