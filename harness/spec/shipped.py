"""What comes with vmapbench: kernels with their patches and fragments, and playbooks.

They lie at the top level of the repository, and in an installed package below `harness/shipped`.
A name means the user's own file where there is one, else the shipped one.
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

    Where neither exists it is the former, which is where a user would put it.
    """
    own, shipped = folder / name, shipped_folder() / "kernels" / name
    return shipped if shipped.exists() and not own.exists() else own


def find_playbook(word: Path) -> Path:
    """Return the playbook that `word` means: a file, or a name of `playbooks/`, ours last.

    Where there is none it is `word` itself.
    """
    named = Path("playbooks") / f"{word}.yaml"
    places = (word, named, shipped_folder() / named, shipped_folder() / word)
    return next((place for place in places if place.is_file()), word)


def shipped_names(kind: str) -> list[str]:
    """Return the names of the shipped files of `kind` ("kernels", "playbooks")."""
    return sorted(path.stem for path in (shipped_folder() / kind).glob("*.yaml"))
