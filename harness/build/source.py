"""Kernel sources: each kind has a digest, found cheaply, and can be unpacked into a folder."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.build.cache import Cache, remembered_digest
from harness.build.download import Notify, download
from harness.build.git import ask_user_repository, last_lines, open_commit, repository_place
from harness.errors import InputError
from harness.process import Runner
from harness.spec.kernel import (
    DebianSource,
    GitSource,
    KernelSpec,
    TarballSource,
    TreeSource,
    UrlSource,
)

DEBIAN_FOLDER = Path("/usr/src")


@dataclass(frozen=True)
class PinnedSource:
    """A source identified by a digest. `unpack` writes its contents into an empty folder.

    `fetch` is called first, to download it if necessary, and reports its progress.
    """

    digest: str  # KIND-HEX; also the name of its folder in the cache
    origin: str  # description for people
    unpack: Callable[[Path], None]
    fetch: Callable[[Notify], None] = lambda _: None


def pin_source(spec: KernelSpec, cache: Cache, runner: Runner) -> PinnedSource:
    """Return the source of `spec`. Raises InputError if it is missing or its digest differs."""
    match spec.source:
        case DebianSource(debian=package):
            return _pin_tarball(_debian_tarball(package), cache, runner)
        case TarballSource(tarball=name, sha256=expected):
            return _pin_tarball(_existing(spec, "tarball", name), cache, runner, expected)
        case UrlSource(url=url, sha256=expected):
            return _pin_url(url, expected, cache, runner)
        case GitSource(git=place, ref=ref):
            return _pin_commit(spec, place, ref, cache, runner)
        case TreeSource(tree=name):
            return _pin_tree(_existing(spec, "tree", name), runner)


def ensure_source(source: PinnedSource, cache: Cache, notify: Notify) -> Path:
    """Return the folder with the pristine source, unpacked once per digest."""
    folder = cache.place("sources", source.digest)
    if not folder.is_dir():
        with cache.lock(
            source.digest, lambda: notify("waiting for another process that unpacks it")
        ):
            if not folder.is_dir():
                source.fetch(notify)
                notify("unpacking the source")
                with cache.attempt("sources", source.digest) as fresh:
                    source.unpack(fresh)
    return folder


def untar_argv(archive: Path, folder: Path) -> list[str]:
    """Return the command that unpacks `archive` below `folder` without its top folder.

    GNU tar strips leading slashes, refuses members with `..`, and creates symbolic links that lead
    out of the folder last, so that nothing is written through them.
    """
    return tar_argv(archive, "-C", str(folder), "--strip-components=1", "--no-same-owner")


def tar_argv(archive: Path, *options: str) -> list[str]:
    """Return the tar command that reads `archive` with `options`; xz uses all CPUs."""
    compressor = ["-I", "xz -T0"] if archive.suffix == ".xz" else []
    return ["tar", "-x", *compressor, "-f", str(archive), *options]


def _existing(spec: KernelSpec, key: str, name: str) -> Path:
    path = (spec.folder / Path(name).expanduser()).resolve()
    if not path.exists():
        raise InputError(f"kernel {spec.name}: source.{key}: {path} does not exist")
    return path


def _debian_tarball(package: str) -> Path:
    path = DEBIAN_FOLDER / f"{package}.tar.xz"
    if not path.is_file():
        raise InputError(
            f"kernel source {path} is missing\n  next: apt-get install {package}"
            " (7.x: `setup/install.sh linux7` takes it from the backports)"
        )
    return path


def _pin_tarball(
    path: Path, cache: Cache, runner: Runner, expected: str | None = None
) -> PinnedSource:
    digest = remembered_digest(path, cache)
    if expected and digest != expected:
        raise InputError(f"{path}: sha256 is {digest}, the kernel file expects {expected}")

    def unpack(folder: Path) -> None:
        done = runner.run(untar_argv(path, folder))
        if done.returncode:
            raise InputError(f"unpacking {path}: {last_lines(done.output)}")

    return PinnedSource(f"sha256-{digest}", str(path), unpack)


def _pin_url(url: str, sha256: str, cache: Cache, runner: Runner) -> PinnedSource:
    suffix = Path(urlsplit(url).path).suffix
    path = cache.place("downloads", f"{sha256}{suffix if suffix.isascii() else ''}")

    def unpack(folder: Path) -> None:
        done = runner.run(untar_argv(path, folder))
        path.unlink()  # the unpacked source is kept
        if done.returncode:
            raise InputError(f"unpacking {url}: {last_lines(done.output)}")

    return PinnedSource(
        f"sha256-{sha256}", url, unpack, lambda notify: download(url, sha256, path, notify)
    )


def _pin_commit(
    spec: KernelSpec, place: str, ref: str, cache: Cache, runner: Runner
) -> PinnedSource:
    try:
        found = open_commit(repository_place(spec.folder, place), ref, cache, runner, alone=True)
    except InputError as error:
        raise InputError(f"kernel {spec.name}: source: {error}") from error
    commit = found.base
    return PinnedSource(
        f"git-{found.tree_of(commit)}",
        f"{place} {ref}",
        lambda folder: found.check_out(commit, folder),
    )


def _pin_tree(tree: Path, runner: Runner) -> PinnedSource:
    names = sorted(_tree_files(tree, runner))
    total = hashlib.sha256()
    for name in names:
        total.update(f"{name}\0{_content_digest(tree / name)}\n".encode("utf-8", "surrogateescape"))

    def unpack(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, folder / name, follow_symlinks=False)

    return PinnedSource(f"tree-{total.hexdigest()}", str(tree), unpack)


def _tree_files(tree: Path, runner: Runner) -> Iterator[str]:
    """Yield the present files of a tree, except those that git ignores (such as objects).

    Files of checked out submodules are included, nested work trees are not.
    """
    if not (tree / ".git").exists():
        for folder, _, files in os.walk(tree):
            yield from (str((Path(folder) / name).relative_to(tree)) for name in files)
        return
    done = ask_user_repository(tree, ["ls-files", "-z", "-co", "--exclude-standard"], runner)
    if done.returncode:
        raise InputError(f"listing the files of {tree}: {last_lines(done.output)}")
    for name in set(done.output.split("\0")) - {""}:
        path = tree / name
        if name.endswith("/") or not os.path.lexists(path):  # a work tree; deleted
            continue
        if path.is_symlink() or not path.is_dir():
            yield name
        elif (path / ".git").exists():
            yield from (f"{name}/{inner}" for inner in _tree_files(path, runner))


def _content_digest(path: Path) -> str:
    if path.is_symlink():
        return f"link:{path.readlink()}"
    with path.open("rb") as stream:
        mode = "x" if os.fstat(stream.fileno()).st_mode & 0o100 else "-"
        return mode + hashlib.file_digest(stream, "sha256").hexdigest()
