"""Real kernels, built once and shared through the cache; everything below is marked e2e."""

from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.kernel import load_kernel_spec

KERNELS = Path(__file__).parents[2] / "kernels"


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def built():
    """Returns a shipped kernel by name, building it when the cache has it not."""
    done = {}

    def build(name):
        if name not in done:
            spec = load_kernel_spec(name, KERNELS)
            done[name] = ensure_kernel(spec, cache_folder(), SubprocessRunner(), lambda _: None)
        return done[name]

    return build


@pytest.fixture(scope="session")
def screenshots():
    """Returns the folder that keeps what the browsers showed; CI keeps it too."""
    folder = Path(__file__).parents[2] / "reports" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
