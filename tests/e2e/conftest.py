"""Real kernels, built once and shared through the cache; everything below is marked e2e."""

import shutil
from pathlib import Path

import pytest

from harness.build.cache import cache_folder
from harness.build.kernel import ensure_kernel
from harness.process import SubprocessRunner
from harness.spec.architecture import architecture
from harness.spec.kernel import load_kernel_spec
from tests.e2e.lab_bench import Bench
from tests.e2e.lab_box import LabBox, ensure_image
from tests.e2e.lab_image import PC

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
def needs():
    """Skips where the optional packages of an architecture, by its name, are not installed."""

    def check(name):
        arch = architecture(name)
        tools = (f"{arch.cross_prefix()}gcc", arch.qemu)
        missing = [tool for tool in tools if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"{', '.join(missing)} missing: {arch.how_to_install()}")

    return check


@pytest.fixture(scope="session")
def screenshots():
    """Returns the folder that keeps what the browsers showed; CI keeps it too."""
    folder = Path(__file__).parents[2] / "reports" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def machine():
    """What the box of a module's tests is."""
    return PC


@pytest.fixture(scope="module")
def box(machine, tmp_path_factory):
    """One machine for all tests: each must leave it as it found it."""
    image = ensure_image(tmp_path_factory.mktemp("settling"), machine)
    box = LabBox(image, tmp_path_factory.mktemp("box"))
    try:
        box.as_root().close()
        box.allow()
        yield box
    finally:
        box.stop()


@pytest.fixture
def bench(box, tmp_path, start):
    return Bench(tmp_path, box, start)
