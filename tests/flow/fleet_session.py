"""Sessions for workers of a real scheduler: fake kernels and target, real store and files."""

import os
from pathlib import Path

from harness.run.observer import Observer
from harness.run.session import Session
from tests.flow.fakes import FakeTarget, fake_kernel

MODULE = Path(__file__).parents[1] / "data" / "test_vmalloc-6.12-modinfo.o"


class MortalTarget(FakeTarget):
    """Its worker dies, once, in the middle of the third boot on host `mortal`."""

    disturbed_by_host = False
    explain_fragments = None

    def __init__(self, spec, reports):
        super().__init__()
        self._host, self._reports = spec.host, reports

    def boot(self, request, progress):
        with (self._reports / f"{self._host}.boots").open("a") as file:
            file.write(f"{os.getpid()}\n")
        lines = (self._reports / f"{self._host}.boots").read_text().splitlines()
        if self._host == "mortal" and len(lines) == 3:
            os._exit(9)
        return super().boot(request, progress)


def make(kernels, reports):
    def build(spec, cache, runner, progress):
        return fake_kernel(kernels, spec.name, MODULE.read_bytes())

    return Session(
        kernels,
        reports,
        Observer(),
        target=lambda spec, *_: MortalTarget(spec, reports),
        build=build,
    )
