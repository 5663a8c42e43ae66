"""The kernel modules of vmapbench; each NAME.c here is built to NAME.ko."""

from dataclasses import replace
from functools import cache
from importlib.resources import files

from harness.testmod.modinfo import ModuleInfo
from harness.testmod.source import parse_module_source

CASES = "vmapbench_cases"
FRAGMENT = "vmapbench_fragment"
_FILES = files(__name__)


def own_sources() -> dict[str, bytes]:
    """Return name -> content of the modules' source files."""
    return {
        file.name: file.read_bytes()
        for file in _FILES.iterdir()
        if file.name.endswith((".c", ".h"))
    }


@cache
def cases_module() -> ModuleInfo:
    """Return the parameters and cases of vmapbench_cases, read from its source."""
    info = parse_module_source((_FILES / f"{CASES}.c").read_text(encoding="utf-8"))
    assert info is not None
    return replace(info, name=CASES)
