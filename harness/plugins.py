"""Families of modules where a file more is a member more: verbs, export formats, boot methods."""

import pkgutil
from importlib.util import find_spec


def names(package: str) -> list[str]:
    """Return the modules of `package`, sorted, without importing it or them.

    A module whose name begins with an underscore is no member of the family.
    """
    spec = find_spec(package)
    assert spec is not None, package
    found = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
    return sorted(name for name in found if not name.startswith("_"))
