"""A kernel: one declarative file in `kernels/`. Source, patches, configuration, toolchain."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from harness.errors import InputError
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document, load_document
from harness.spec.shipped import find_kernel_file, shipped_folder, shipped_names

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
RelativePath = Annotated[str, Field(pattern=r"^(?!/)(?!.*\.\.)[A-Za-z0-9._/+-]+\Z")]
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,40}\Z")]
# What git takes for a name or a revision, of one commit.
GitRef = Annotated[str, Field(pattern=r"^[\w@.][^\x00-\x20\x7f:?*\[\\]*\Z")]
Repository = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-][^\x00-\x1f\x7f]*\Z")]


class DebianSource(Document):
    """The source tarball that a Debian package installs (`linux-source-6.12`)."""

    debian: Annotated[str, Field(pattern=r"^linux-source-[0-9.]+\Z")]


class TarballSource(Document):
    """A release tarball on this machine; relative paths start at the kernel file's folder."""

    tarball: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")] | None = None


class UrlSource(Document):
    """A release tarball from anywhere, fetched once. Its digest is what is trusted.

    A name and password in the URL would stand in every result, so there may be none.
    """

    url: Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]+)?/[^\x00-\x20\x7f]+\Z")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")]


class GitSource(Document):
    """A commit of a git repository, by URL or path of a local tree."""

    git: Repository
    ref: GitRef


class TreeSource(Document):
    """A local source tree as it stands, uncommitted changes included."""

    tree: str


_KINDS = ("debian", "tarball", "url", "git", "tree")


def _kind_of(source: Any) -> str | None:
    """Return the key that says what kind a source is, None where none or several do."""
    given = (
        source.keys()
        if isinstance(source, dict)
        else getattr(type(source), "__pydantic_fields__", {})
    )
    kinds = [kind for kind in _KINDS if kind in given]
    return kinds[0] if len(kinds) == 1 else None


Source = Annotated[
    Annotated[DebianSource, Tag("debian")]
    | Annotated[TarballSource, Tag("tarball")]
    | Annotated[UrlSource, Tag("url")]
    | Annotated[GitSource, Tag("git")]
    | Annotated[TreeSource, Tag("tree")],
    Discriminator(
        _kind_of,
        custom_error_type="source",
        custom_error_message=f"expected one of the keys {', '.join(_KINDS)}",
    ),
]


class KernelSpec(Document):
    """What to build and how it boots.

    `patches` and `fragments` are paths below the kernels folder, or below the shipped one where
    that has none of the name, applied in order.
    `label` stands for the name in tables and pages, where no two kernels of a run share it.
    `boot_parameters` are added to the command line of every boot of this kernel. With `sandbox:
    required` its build sees its own tree and the toolchain, and no home or network.
    """

    version: Literal[1]
    name: Name
    label: Label = ""
    summary: str = ""
    source: Source
    patches: tuple[RelativePath, ...] = ()
    fragments: tuple[RelativePath, ...] = ()
    architecture: Literal["x86_64"] = "x86_64"
    toolchain: Annotated[str, Field(pattern=r"^(gcc|clang)(-[0-9]+)?\Z")] = "gcc"
    boot_parameters: tuple[BootParameter, ...] = ()
    sandbox: Literal["none", "required"] = "none"
    folder: Path  # the user's kernels folder; set by `load_kernel_spec`

    def place(self, name: str) -> Path:
        """Return where a patch or fragment of that name lies; it need not exist."""
        return find_kernel_file(self.folder, name)

    def name_of(self, path: Path) -> str:
        """Return the name of a file whose `place` is `path`, or that lies in such a folder."""
        shipped = shipped_folder() / "kernels"
        return str(path.relative_to(shipped if path.is_relative_to(shipped) else self.folder))


def load_kernel_spec(name: str, folder: Path) -> KernelSpec:
    """Return the kernel that `folder/name.yaml` describes, or the shipped one of that name.

    Raises InputError (missing, unreadable) or SpecError (every fault with its line).
    """
    file = find_kernel_file(folder, f"{name}.yaml")
    if not file.exists():
        known = ", ".join(shipped_names("kernels"))
        raise InputError(f"no kernel {name}: there is no {file}; shipped are {known}")
    return load_document(file, KernelSpec, name=name, folder=str(folder.resolve()))
