"""Reads the parameters and cases of test_vmalloc from its source, before it is built.

The .modinfo of the built module (`harness.testmod.modinfo`) is authoritative; this reads as much of
it as regular expressions find in lib/test_vmalloc.c.
"""

import re

from harness.testmod.modinfo import ModuleInfo, Parameter, parse_cases

SOURCE_FILE = "lib/test_vmalloc.c"

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# __param(int, run_test_mask, 7, "Set tests specified in the mask.\n\n" "\t\tid: 1, ...");
_PARAMETER = re.compile(
    r"^__param\(\s*(?P<type>\w+)\s*,\s*(?P<name>\w+)\s*,\s*(?P<initial>[^,\"]*?)\s*,"
    r"\s*(?P<words>(?:\"(?:[^\"\\\n]|\\.)*\"\s*)+)\)",
    re.MULTILINE,
)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_INITIAL = {"true": 1, "false": 0, "INT_MAX": 2**31 - 1}


def parse_module_source(text: str) -> ModuleInfo | None:
    """Return the parameters and cases in the text of lib/test_vmalloc.c.

    None if they are declared in an unknown way; then the built module has to be read.
    """
    parameters, defaults = {}, {}
    for found in _PARAMETER.finditer(_COMMENT.sub("", text)):
        name, description = found["name"], "".join(_STRING.findall(found["words"]))
        parameters[name] = Parameter(name, found["type"], description.replace("\\t", "\t"))
        initial = found["initial"]
        if initial in _INITIAL or initial.lstrip("-").isdigit():
            defaults[name] = _INITIAL[initial] if initial in _INITIAL else int(initial)
    mask = parameters.get("run_test_mask")
    cases = parse_cases(mask.description) if mask else {}
    if not cases:
        return None
    return ModuleInfo("test_vmalloc", parameters, cases, defaults)
