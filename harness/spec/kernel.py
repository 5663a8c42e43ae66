"""Kernel files: one kernel each, with source, patches, configuration and toolchain."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from harness.errors import InputError
from harness.spec.architecture import ARCHITECTURES, X86_64, Architecture, architecture
from harness.spec.boot_parameters import BootParameter
from harness.spec.document import Document, load_document
from harness.spec.shipped import find_kernel_file, shipped_folder, shipped_names

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
RelativePath = Annotated[str, Field(pattern=r"^(?!/)(?!.*\.\.)[A-Za-z0-9._/+-]+\Z")]
Label = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{0,40}\Z")]
ConfigStart = Annotated[  # a path, or the name of a make target
    str, Field(pattern=r"^(~?/[^\x00-\x1f\x7f]{1,4096}|(?!.*\.\.)[\w.+-][\w./+-]{0,250})?\Z")
]
# What git takes for a name or a revision, of one commit.
GitRef = Annotated[str, Field(pattern=r"^[\w@.][^\x00-\x20\x7f:?*\[\\]*\Z")]
Repository = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-][^\x00-\x1f\x7f]*\Z")]


def _known_architecture(name: str) -> str:
    try:
        return architecture(name).name
    except InputError as error:
        raise ValueError(str(error)) from error


ArchitectureName = Annotated[
    str,
    AfterValidator(_known_architecture),
    Field(json_schema_extra={"enum": list(ARCHITECTURES)}),
]


class DebianSource(Document):
    """The source tarball that a Debian package installs (`linux-source-6.12`)."""

    debian: Annotated[str, Field(pattern=r"^linux-source-[0-9.]+\Z")]
    """The package, whose tarball is in /usr/src. Example: `linux-source-6.12`"""


class TarballSource(Document):
    """A release tarball on this machine; relative to the kernel file's folder."""

    tarball: str
    """A release tarball on this machine; relative to the kernel file's folder. Example:
    `~/linux-6.12.tar.xz`
    """
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    """The digest that it must have. Example: `<64 hex digits>`"""


class UrlSource(Document):
    """A release tarball that is downloaded once and trusted for its digest alone.

    The URL may hold no user name and password, since every result shows it.
    """

    url: Annotated[str, Field(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]+)?/[^\x00-\x20\x7f]+\Z")]
    """Address of a release tarball. Example: `https://example.org/linux-6.12.tar.xz`
    """
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}\Z")]
    """The digest that it must have. Example: `<64 hex digits>`"""


class GitSource(Document):
    """A commit of a git repository, by URL or path of a local tree."""

    git: Repository
    """A repository: a URL, or the path of a local tree. Example: `~/linux`"""
    ref: GitRef
    """A commit: hash, tag, branch or any other revision. Example: `v6.12`"""


class TreeSource(Document):
    """A local source tree as it stands, uncommitted changes included."""

    tree: str
    """A local source tree as it stands, uncommitted changes included. Example: `../linux`"""


_KINDS = ("debian", "tarball", "url", "git", "tree")


def _kind_of(source: Any) -> str | None:
    """Return the key that says which kind the source is, None for no or several such keys."""
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
    """A kernel to build and how it boots.

    `patches` and `fragments` are searched in the kernels folder, then among the shipped ones.
    `config` is a path (relative to the kernels folder), the name of a defconfig, or localyesconfig.
    `label` replaces the name in tables and pages unless two kernels of a run share it.
    """

    version: Literal[1]
    """Version of the format. Example: `1`"""
    name: Name
    """The name of the file, without .yaml. Example: `vmap-nodes`"""
    label: Label = ""
    """Shown instead of the name in results, tables and charts. Example: `vmap nodes`"""
    summary: str = ""
    """What the kernel is, in a sentence. Example: `Linux 6.12 with the vmap-node layer, unpatched`
    """
    source: Source
    """Where the source comes from; one of the kinds below. Example: `{git: ~/linux, ref: v6.12}`
    """
    patches: tuple[RelativePath, ...] = ()
    """Applied in order; paths below the kernels folder. Example: `[patches/mine.patch]`"""
    fragments: tuple[RelativePath, ...] = ()
    """Configuration, in order; paths below the kernels folder. Example: `[fragments/base.config]`
    """
    config: ConfigStart = ""
    """Configuration to start from: a `.config`, a defconfig of the tree, or `localyesconfig`. What
    the harness needs is added. Example: `x86_64_defconfig`
    """
    architecture: ArchitectureName = X86_64.name
    """Architecture to build for. Example: `x86_64`"""
    toolchain: Annotated[str, Field(pattern=r"^(gcc|clang)(-[0-9]+)?\Z")] = "gcc"
    """Compiler, with its major version where that matters. Example: `gcc-12`"""
    boot_parameters: tuple[BootParameter, ...] = ()
    """Added to the command line of every boot of this kernel. Example: `[vmap_nodes=1]`"""
    sandbox: Literal["none", "required"] = "none"
    """`required`: the build has no access to home and network. Example:
    `required`
    """
    layout: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """If not 0: places the same code elsewhere in memory, differently for each number.
    Example: `1`
    """
    folder: Path  # the user's kernels folder; set by `load_kernel_spec`
    """The kernels folder."""

    @property
    def arch(self) -> Architecture:
        """The record of its architecture."""
        return architecture(self.architecture)

    def place(self, name: str) -> Path:
        """Return the path of a patch or fragment, which need not exist."""
        return find_kernel_file(self.folder, name)

    def name_of(self, path: Path) -> str:
        """Return the name whose `place` is `path` or a folder that holds it."""
        shipped = shipped_folder() / "kernels"
        return str(path.relative_to(shipped if path.is_relative_to(shipped) else self.folder))


def one_architecture(specs: Iterable[KernelSpec]) -> Architecture:
    """Return the one architecture of all `specs`. Raises InputError for several.

    Comparing times of different architectures says nothing about a change to the kernel.
    """
    kernels = {spec.architecture: spec.name for spec in specs}
    if len(kernels) > 1:
        found = ", ".join(f"{name} is for {arch}" for arch, name in kernels.items())
        raise InputError(f"kernels: {found}\n  next: write a playbook for each architecture")
    return architecture(next(iter(kernels), X86_64.name))


def load_kernel_spec(name: str, folder: Path) -> KernelSpec:
    """Return the kernel that `folder/name.yaml` describes, or the shipped one of that name.

    Raises InputError (missing, unreadable) or SpecError (every fault with its line).
    """
    file = find_kernel_file(folder, f"{name}.yaml")
    if not file.exists():
        known = ", ".join(shipped_names("kernels"))
        raise InputError(f"no kernel {name}: there is no {file}; shipped are {known}")
    return load_document(file, KernelSpec, name=name, folder=str(folder.resolve()))
