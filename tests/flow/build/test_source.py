import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.build.cache import Cache, file_digest
from harness.build.source import PinnedSource, ensure_source, pin_source
from harness.errors import InputError
from harness.process import SubprocessRunner
from harness.spec.kernel import KernelSpec

Toy = Callable[..., KernelSpec]
Pin = Callable[[KernelSpec], PinnedSource]


@pytest.fixture
def pin(cache: Cache, runner: SubprocessRunner) -> Pin:
    return lambda spec: pin_source(spec, cache, runner)


def unpacked(source: PinnedSource, cache: Cache) -> Path:
    return ensure_source(source, cache, lambda _: None)


def git(*argv: str | Path) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run(["git", *who, *map(str, argv)], check=True, capture_output=True)


@pytest.fixture
def repository(toy_tree: Path) -> Path:
    git("init", "-q", "-b", "trunk", toy_tree)
    (toy_tree / ".gitignore").write_text("*.o\n")
    git("-C", toy_tree, "add", ".")
    git("-C", toy_tree, "commit", "-qm", "one")
    return toy_tree


def test_a_tarball_is_unpacked_once_without_its_top_folder(
    pin: Pin, toy: Toy, cache: Cache, kernels: Path
) -> None:
    source = pin(toy())
    assert source.digest == f"sha256-{file_digest(kernels / 'toy.tar.xz')}"
    folder = unpacked(source, cache)
    assert (folder / "mm/vmalloc.c").is_file()
    told: list[str] = []
    assert ensure_source(source, cache, told.append) == folder
    assert told == []


def test_a_tarball_that_changed_is_another_source(pin: Pin, toy: Toy, kernels: Path) -> None:
    one = pin(toy()).digest
    with tarfile.open(kernels / "toy.tar.xz", "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("toy/Makefile"))
    assert pin(toy()).digest != one


def test_the_expected_digest_is_held_to(pin: Pin, toy: Toy) -> None:
    with pytest.raises(InputError, match="the kernel file expects 0000"):
        pin(toy(source={"tarball": "toy.tar.xz", "sha256": "0" * 64}))


def test_missing_sources_say_what_to_do(pin: Pin, toy: Toy) -> None:
    with pytest.raises(InputError, match="apt-get install linux-source-9.9"):
        pin(toy(source={"debian": "linux-source-9.9"}))
    with pytest.raises(InputError, match=r"source\.tarball: .*none\.tar does not exist"):
        pin(toy(source={"tarball": "none.tar"}))


@pytest.mark.parametrize("evil", ["../evil", "top/../../../evil", "/tmp/../evil"])
def test_nothing_is_unpacked_outside(
    pin: Pin, toy: Toy, cache: Cache, kernels: Path, evil: str
) -> None:
    with tarfile.open(kernels / "evil.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("top/Makefile"))
        member = tarfile.TarInfo(evil)
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    source = pin(toy(source={"tarball": "evil.tar"}))
    with pytest.raises(InputError, match=r"unpacking .*evil\.tar"):
        unpacked(source, cache)
    assert not list(cache.folder.parent.rglob("evil"))
    assert not list((cache.folder / "sources").iterdir())


def test_nothing_is_written_through_a_link(
    pin: Pin, toy: Toy, cache: Cache, kernels: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with tarfile.open(kernels / "evil.tar", "w") as archive:
        link = tarfile.TarInfo("top/way")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
        member = tarfile.TarInfo("top/way/evil")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(InputError):
        unpacked(pin(toy(source={"tarball": "evil.tar"})), cache)
    assert list(outside.iterdir()) == []


def test_a_broken_archive_leaves_no_source(pin: Pin, toy: Toy, cache: Cache, kernels: Path) -> None:
    whole = (kernels / "toy.tar.xz").read_bytes()
    (kernels / "toy.tar.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="unpacking"):
        unpacked(pin(toy()), cache)
    (kernels / "toy.tar.xz").write_bytes(whole)
    assert (unpacked(pin(toy()), cache) / "Makefile").is_file()


def test_a_commit_is_taken_as_committed(pin: Pin, toy: Toy, cache: Cache, repository: Path) -> None:
    (repository / "mm/vmalloc.c").write_text("not committed")
    by_path = pin(toy(source={"git": str(repository), "ref": "trunk"}))
    by_url = pin(toy(source={"git": f"file://{repository}", "ref": "trunk"}))
    assert by_path.digest == by_url.digest
    assert "stand-in" in (unpacked(by_url, cache) / "mm/vmalloc.c").read_text()


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_unknown_ref_is_refused(pin: Pin, toy: Toy, repository: Path, scheme: str) -> None:
    with pytest.raises(InputError, match="no-such-branch"):
        pin(toy(source={"git": f"{scheme}{repository}", "ref": "no-such-branch"}))


def test_a_tree_is_taken_as_it_stands(pin: Pin, toy: Toy, cache: Cache, repository: Path) -> None:
    spec = toy(source={"tree": str(repository)})
    clean = pin(spec).digest
    (repository / "mm/vmalloc.o").write_text("ignored by git")
    assert pin(spec).digest == clean
    (repository / "mm/new.c").write_text("int new;\n")
    changed = pin(spec)
    assert changed.digest != clean
    folder = unpacked(changed, cache)
    assert (folder / "mm/new.c").is_file()
    assert not (folder / "mm/vmalloc.o").exists()
    assert not (folder / ".git").exists()


def test_a_tree_needs_no_git(pin: Pin, toy: Toy, cache: Cache, toy_tree: Path) -> None:
    source = pin(toy(source={"tree": str(toy_tree)}))
    assert (unpacked(source, cache) / "scripts/kconfig/toyconf.sh").is_file()


def test_work_trees_and_submodules_in_a_tree(
    pin: Pin, toy: Toy, cache: Cache, repository: Path, tmp_path: Path
) -> None:
    git("init", "-q", "-b", "x", tmp_path / "module")
    (tmp_path / "module/inner.c").write_text("int inner;\n")
    git("-C", tmp_path / "module", "add", ".")
    git("-C", tmp_path / "module", "commit", "-qm", "one")
    allow = ["-c", "protocol.file.allow=always"]
    git("-C", repository, *allow, "submodule", "--quiet", "add", tmp_path / "module", "drivers/sub")
    git("-C", repository, "commit", "-qm", "sub")
    git("-C", repository, "worktree", "add", "-q", repository / "wt", "HEAD~1")
    git("init", "-q", repository / "other")
    folder = unpacked(pin(toy(source={"tree": str(repository)})), cache)
    assert (folder / "drivers/sub/inner.c").read_text() == "int inner;\n"
    assert not (folder / "wt").exists()
    assert not (folder / "other").exists()
    assert not list(folder.rglob(".git"))
