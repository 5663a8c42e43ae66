"""Plug-ins found by folder: each file is one verb, export format or boot method."""

from importlib.resources import files


def names(package: str) -> list[str]:
    """Return the modules of `package`, below `harness`, sorted; imports none of them.

    Modules whose names begin with an underscore are left out.
    """
    top, *below = package.split(".")
    found = (file.name for file in files(top).joinpath(*below).iterdir())
    modules = (name.removesuffix(".py") for name in found if name.endswith(".py"))
    return sorted(name for name in modules if not name.startswith("_"))


def folders(package: str, file: str) -> list[str]:
    """Return the folders of `package`, below `harness`, that have a `file`, sorted."""
    top, *below = package.split(".")
    found = files(top).joinpath(*below).iterdir()
    return sorted(folder.name for folder in found if folder.joinpath(file).is_file())
