"""Kernel sources as repositories of the harness, with series applied to them.

    repository = ensure_repository(recipe, cache, runner)    # a tarball becomes one on first use
    commits = apply_series(repository, repository.base, series, folder)
    spec = kernel_at(recipe, repository, commits[-1], "name", kernels)   # `ensure_kernel` builds it

Repositories are in the cache (harness.build.git). A series changes nothing outside its worktree.
"""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from harness.build.allowed import refusal
from harness.build.cache import Cache
from harness.build.git import (
    FIXED_DATES,
    Repository,
    begin_repository,
    last_lines,
    open_commit,
    repository_place,
)
from harness.build.patches import copy_inputs, describe_rejection, first_applicable
from harness.build.sandbox import SandboxPaths, is_contained
from harness.build.series import Patch, PatchSeries
from harness.build.source import ensure_source, pin_source
from harness.errors import InputError
from harness.files import replace_file, replacement
from harness.process import Completed, Runner
from harness.scratch import scratch_folder
from harness.spec.kernel import GitSource, KernelSpec, Source, TarballSource, TreeSource
from harness.text import one_line

PATCH_LIMIT = 32 << 20  # bytes; commits that differ by more are unpacked separately


def ensure_repository(recipe: KernelSpec, cache: Cache, runner: Runner) -> Repository:
    """Return the repository that has the source of `recipe` as `base`, with its patches applied.

    A tarball, Debian package or tree is turned into a repository of one commit, once. For a git
    source the ref is fetched, so that `base` is its present commit.
    """
    if isinstance(recipe.source, GitSource):
        place = repository_place(recipe.folder, recipe.source.git)
        bare = open_commit(place, recipe.source.ref, cache, runner)
    else:
        bare = _import(recipe, cache, runner)
    return Repository(bare.folder, _patched(bare, recipe), runner)


def apply_series(
    repository: Repository,
    base: str,
    series: PatchSeries,
    paths: Sequence[str] | None = None,
    *,
    contained: bool = False,
) -> list[str]:
    """Apply `series` on commit `base` with `git am`; return the commit of each patch.

    `contained`: `git am` runs in a sandbox. The worktree is removed. Raises InputError with patch,
    file and hunk if it does not apply, and for a series that changes a file outside `paths`
    (`harness.build.allowed`; None: any) or contains a symbolic link.
    """
    if series.fault:
        raise InputError(f"series {series.title!r}: {series.fault}")
    with scratch_folder("series") as scratch:
        tree = scratch / "tree"
        added = repository.git("worktree", "add", "--no-checkout", "--detach", str(tree), base)
        try:
            if added.returncode or repository.git("read-tree", "HEAD", tree=tree).returncode:
                raise InputError(
                    f"series {series.title!r}: no worktree: {last_lines(added.output)}"
                )
            commits = [
                _apply(repository, tree, patch, scratch / f"{number}.eml", contained)
                for number, patch in enumerate(series.patches)
            ]
        finally:
            shutil.rmtree(tree, ignore_errors=True)
            repository.git("worktree", "prune")
    _refuse_paths(repository, base, commits[-1], series, paths)
    return commits


def kernel_at(
    recipe: KernelSpec, repository: Repository, commit: str, name: str, kernels: Path
) -> KernelSpec:
    """Return the kernel `name`: configuration and toolchain of `recipe`, source of `commit`.

    It is the recipe's source with one more patch, so that nothing is unpacked again and the objects
    of the recipe are reused. Writes patch, fragments and kernel file below `kernels`.
    """
    (kernels / "patches").mkdir(parents=True, exist_ok=True)
    copy_inputs(recipe, kernels)
    patch = f"patches/{name}-{repository.tree_of(commit)[:12]}.patch"
    size = write_difference(repository, repository.base, commit, kernels / patch)
    changed: dict[str, object] = {"name": name, "folder": kernels.resolve()}
    changed["source"] = absolute_source(recipe)
    if size > PATCH_LIMIT:
        changed |= {"source": GitSource(git=str(repository.folder), ref=commit), "patches": ()}
    elif size:
        changed["patches"] = (*recipe.patches, patch)
    if isinstance(recipe.source, GitSource) and size <= PATCH_LIMIT:
        changed["source"] = GitSource(git=str(repository.folder), ref=repository.base)
        changed["patches"] = (patch,) if size else ()  # `base` has the recipe's patches
    return recipe.model_copy(update=changed)


def write_kernel(spec: KernelSpec) -> None:
    """Write the kernel file of `spec` into its folder, to be loaded by name."""
    kept = spec.model_dump(mode="json", exclude={"name", "folder"})
    stream = io.StringIO()
    YAML(typ="safe").dump(kept, stream)
    replace_file(spec.folder / f"{spec.name}.yaml", stream.getvalue())


def changed_files(repository: Repository, old: str, new: str) -> list[tuple[set[str], str]]:
    """Return (modes, path) of every file that differs: its modes in `old` and `new`, if there."""
    raw = repository.read("diff-tree", "-r", "-z", "--no-renames", "--raw", old, new).split("\0")
    heads = ({*head.lstrip(":").split()[:2]} - {"000000"} for head in raw[::2])
    return list(zip(heads, raw[1::2], strict=False))


def _import(recipe: KernelSpec, cache: Cache, runner: Runner) -> Repository:
    """Return the repository whose one commit is the unpacked source of `recipe`."""
    pinned = pin_source(recipe, cache, runner)
    name = f"source-{pinned.digest}"
    folder = cache.place("git", name)
    if not folder.is_dir():
        with cache.lock(name, lambda: None):
            if not folder.is_dir():
                pristine = ensure_source(pinned, cache, lambda _: None)
                with cache.attempt("git", name) as fresh:
                    _commit_tree(Repository(fresh, "", runner), pristine)
    repository = Repository(folder, "", runner)
    return Repository(folder, repository.read("rev-parse", "refs/heads/source"), runner)


def _commit_tree(repository: Repository, pristine: Path) -> None:
    """Commit a folder, into one pack instead of 80,000 object files."""
    begin_repository(repository.folder, repository.runner)
    pack = ["-c", "core.bigFileThreshold=1", "-c", "core.compression=1"]
    links = ["-c", "core.symlinks=true"]
    arguments = [*pack, *links, f"--work-tree={pristine}", "add", "--all", "--force", "."]
    repository.read(*arguments)
    tree = repository.read("write-tree")
    commit = commit_tree(repository, tree, "source")
    repository.read("update-ref", "refs/heads/source", commit)
    (repository.folder / "index").unlink()


def commit_tree(repository: Repository, tree: str, message: str, *parents: str) -> str:
    """Commit the contents `tree`; the same message and contents give the same commit."""
    arguments = [word for parent in parents for word in ("-p", parent)]
    return repository.read("commit-tree", tree, "-m", message, *arguments, env=FIXED_DATES)


def _patched(bare: Repository, recipe: KernelSpec) -> str:
    """Return the commit of the recipe's patches on its source, the base of series."""
    if not recipe.patches:
        return bare.base
    with scratch_folder("index") as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        contained = is_contained(recipe)
        bare.read("read-tree", bare.base, env=index)

        def attempt(form: Path) -> Completed:
            view = SandboxPaths((scratch,), (form,)) if contained else None
            arguments = ("apply", "--cached", "--whitespace=nowarn", str(form))
            return bare.git(*arguments, env=index, view=view)

        for name in recipe.patches:
            form, refused = first_applicable(recipe.place(name), attempt)
            if form is None:
                reasons = "\n  ".join(refused) or "it does not exist"
                raise InputError(f"applying {name} to {recipe.name}'s source: {reasons}")
        tree = bare.read("write-tree", env=index)
    return commit_tree(bare, tree, f"patches of {recipe.name}", bare.base)


def _apply(repository: Repository, tree: Path, patch: Patch, mail: Path, contained: bool) -> str:
    """Apply one patch in the worktree at `tree`, where git checks out only the changed files."""
    mail.write_bytes(patch.mail)
    form = ["--quiet", "--patch-format=mbox", "--no-scissors", "--whitespace=nowarn", "--keep-cr"]
    argv = [
        "am",
        *form,
        "--committer-date-is-author-date",
        f"-p{patch.strip}",
        "--",
        str(mail),
    ]
    view = SandboxPaths((tree.parent,)) if contained else None
    done = repository.git(*argv, tree=tree, view=view)
    if done.returncode:
        raise InputError(
            f"patch {patch.name} ({patch.title!r}) does not apply: "
            f"{one_line(describe_rejection(done.output), 1000)}\n"
            "  next: set base to the commit that it was made for, or rebase it"
        )
    found = repository.git("rev-parse", "HEAD", tree=tree)
    return found.output.strip()


def _refuse_paths(
    repository: Repository, base: str, tip: str, series: PatchSeries, paths: Sequence[str] | None
) -> None:
    """Raise InputError for links, and for files that the series may not change."""
    for modes, name in changed_files(repository, base, tip):
        if modes - {"100644", "100755"}:
            raise InputError(
                f"series {series.title!r}: {one_line(name)} is a link; links are refused"
            )
        reason = refusal(name, "100755" in modes, paths) if paths is not None else ""
        if reason:
            raise InputError(
                f"series {series.title!r}: changes {one_line(name)}, and {reason}\n"
                "  next: review the series, then name the file in `paths` (a build executes "
                "Makefiles and Kconfig files)"
            )


def write_difference(repository: Repository, old: str, new: str, path: Path) -> int:
    """Write the patch from commit `old` to `new` to `path`; return its size in bytes.

    Uses git's plumbing, which no setting affects.
    """
    form = ["--binary", "--full-index", "--no-renames", "-p"]
    with replacement(path.absolute()) as output:
        repository.read("diff-tree", *form, f"--output={output}", old, new)
    return path.stat().st_size


def absolute_source(recipe: KernelSpec) -> Source:
    """Return the recipe's source with absolute paths, for a kernel file in another folder."""
    match recipe.source:
        case TarballSource(tarball=name) as source:
            path = (recipe.folder / Path(name).expanduser()).resolve()
            return source.model_copy(update={"tarball": str(path)})
        case TreeSource(tree=name):
            return TreeSource(tree=str((recipe.folder / Path(name).expanduser()).resolve()))
        case GitSource(git=place, ref=ref):
            return GitSource(git=repository_place(recipe.folder, place), ref=ref)
    return recipe.source
