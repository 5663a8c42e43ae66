"""The kernels, patches, fragments and playbooks that come with vmapbench.

They are at the top level of the repository, and below `harness/shipped` in an installed package.
A user's own file takes precedence over the shipped one of the same name.
"""

from importlib.resources import files
from pathlib import Path


def shipped_folder() -> Path:
    """Return the folder that has the shipped `kernels/` and `playbooks/`."""
    package = Path(str(files("harness")))
    installed = package / "shipped"
    return installed if installed.is_dir() else package.parent


def find_kernel_file(folder: Path, name: str) -> Path:
    """Return `folder/name`, or the shipped file of that name below `kernels/`.

    If neither exists, returns the former, where a user would put it.
    """
    own, shipped = folder / name, shipped_folder() / "kernels" / name
    return shipped if shipped.exists() and not own.exists() else own


def find_playbook(word: Path) -> Path:
    """Return the file of a playbook given by path or by name; shipped ones come last.

    If there is none, returns `word` itself.
    """
    named = Path("playbooks") / f"{word}.yaml"
    places = (word, named, shipped_folder() / named, shipped_folder() / word)
    return next((place for place in places if place.is_file()), word)


def shipped_names(kind: str) -> list[str]:
    """Return the names of the shipped files of `kind` ("kernels", "playbooks")."""
    return sorted(path.stem for path in (shipped_folder() / kind).glob("*.yaml"))
