"""Turns the candidates of a nightly file (branch, mailbox, patches) into kernels to build."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.build.cache import Cache
from harness.build.git import (
    LONGEST_S,
    SILENCE_S,
    Commit,
    Repository,
    open_commit,
    repository_place,
)
from harness.build.patch_folder import load_patches
from harness.build.patches import copy_inputs, patch_forms
from harness.build.series import Mailbox, PatchSeries, kernel_name, load_mailbox
from harness.build.start_config import config_file
from harness.build.worktree import (
    absolute_source,
    apply_series,
    ensure_repository,
    kernel_at,
    write_kernel,
)
from harness.errors import InputError, ToolError
from harness.process import Runner
from harness.scratch import scratch_folder
from harness.spec.kernel import GitSource, KernelSpec, load_kernel_spec
from harness.spec.nightly import CandidateSpec, NightlySpec
from harness.text import one_line

COMMITS_SHOWN = 20
_SUBJECTS_SHOWN = 5


@dataclass(frozen=True)
class Revision:
    """A kernel to measure.

    `kernel`: its name, the same in every nightly run; `id`: identifies its source. `baseline`: name
    of the kernel to compare it with; `folder` has the kernel files of both. `commits`: the commits
    of a branch since the last run, a line each; `tip`: the newest one. `message_id`: of a series
    from mail.
    """

    key: str
    kernel: str
    baseline: str
    id: str
    title: str
    folder: Path
    series: bool
    message_id: str = ""
    commits: tuple[str, ...] = ()
    tip: str = ""
    once: bool = False  # not measured again in later runs


@dataclass(frozen=True)
class Failed:
    """A candidate, or one of its series, that gives no kernel.

    `where`: the candidate's name, or the name and title of the series if it has several.
    """

    candidate: str
    where: str
    reason: str


@dataclass(frozen=True)
class Finder:
    """Finds the kernels of a nightly run and writes their kernel files to `folder`.

    `anchors`, `tips`: as in `NightlyState`; `find` updates `anchors`. `notes`: `find` adds a line
    on the contents of each mailbox, by candidate.
    """

    spec: NightlySpec
    folder: Path
    cache: Cache
    runner: Runner
    anchors: dict[str, str] = field(default_factory=dict)
    tips: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def find(self, candidate: CandidateSpec, recipe: KernelSpec) -> list[Revision | Failed]:
        """Return the kernels of a candidate, and a `Failed` for each series that gives none.

        `recipe`: the kernel file of the baseline. Errors of the candidate are returned, not raised.
        """
        try:
            if candidate.branch is not None:
                return list(self._branch(candidate, recipe))
            found = self._series(candidate)
        except (InputError, ToolError) as error:
            return [Failed(candidate.name, candidate.name, str(error))]
        revisions: list[Revision | Failed] = []
        for series in found:
            many = candidate.mbox is not None or candidate.maildir is not None
            name = kernel_name(series) if many else candidate.name
            try:
                revisions.append(self._applied(candidate, recipe, series, name))
            except (InputError, ToolError) as error:
                title = series.title.replace("|", "/")  # "|" separates keys in `NightlyState`
                where = f"{name} ({title})" if many else name
                revisions.append(Failed(candidate.name, where, str(error)))
        return revisions

    def _series(self, candidate: CandidateSpec) -> tuple[PatchSeries, ...]:
        if candidate.patches is not None:
            return (load_patches(self.spec.path(candidate.patches), self.runner),)
        if candidate.message_id is not None:
            return (fetch_series(candidate.message_id, candidate.archive, self.runner),)
        box = load_mailbox(self.spec.path(candidate.mbox or candidate.maildir or ""), self.runner)
        self.notes[candidate.name] = describe_mailbox(box)
        return box.series

    def _applied(
        self, candidate: CandidateSpec, recipe: KernelSpec, series: PatchSeries, name: str
    ) -> Revision:
        """Apply a series to its base; write the kernel files of both."""
        based, note = self._based(candidate, recipe, series)
        repository = ensure_repository(based, self.cache, self.runner)
        needed = len(series.prerequisites)
        if needed:
            note += f", without the {needed} prerequisite patch{'es' * (needed > 1)} that it names"
        sandbox = candidate.build_sandbox
        try:
            tip = apply_series(
                repository,
                repository.base,
                series,
                candidate.allowed_paths,
                contained=sandbox == "required",
            )[-1]
        except InputError as error:
            if needed:
                ids = ", ".join(patch[:12] for patch in series.prerequisites[:5])
                raise InputError(
                    f"{error}\n  the series depends on other patches: {ids}"
                ) from error
            raise
        trees = [repository.tree_of(commit) for commit in (repository.base, tip)]
        digest = hashlib.sha256(" ".join([recipe.name, *trees]).encode()).hexdigest()[:16]
        folder = self.folder / f"{name}-{digest}"
        baseline = recipe.name if based is recipe else f"{name[:58]}-base"
        write_kernel(kernel_at(based, repository, repository.base, baseline, folder))
        version = f" v{series.version}" if series.version > 1 else ""
        count = f"{len(series.patches)} patch{'es' if len(series.patches) > 1 else ''}"
        title = f"{series.title}{version}, {count}{note}"
        spec = kernel_at(based, repository, tip, name, folder)
        changed = {"summary": title, "sandbox": sandbox}
        write_kernel(spec.model_copy(update=changed))
        return Revision(
            key=name,
            kernel=name,
            baseline=baseline,
            id=digest,
            title=title,
            folder=folder,
            series=True,
            message_id=series.message_id,
        )

    def _based(
        self, candidate: CandidateSpec, recipe: KernelSpec, series: PatchSeries
    ) -> tuple[KernelSpec, str]:
        """Return the kernel to apply a series to, and a note on it for the title.

        It is the commit in `base`, else that of the series' base-commit trailer, else the baseline.
        """
        place = self._place(candidate, recipe)
        if place is None:
            if candidate.base:
                raise InputError(
                    f"candidate {candidate.name}: base: {candidate.base}: the source of "
                    f"{recipe.name} is not a git repository\n  next: name one with `git`"
                )
            unknown = ", not on its base-commit: the baseline's source is not a git repository"
            return recipe, unknown if series.base_commit else ""
        wanted = candidate.base or series.base_commit
        if not wanted:
            return recipe, ""
        try:
            found = open_commit(place, wanted, self.cache, self.runner)
        except InputError as error:
            key = "base" if candidate.base else "base-commit"
            raise InputError(
                f"{key} {wanted}: {error}\n  next: fetch it into that repository, or name another "
                f"commit with `base` or another repository with `git`"
            ) from error
        source = GitSource(git=str(found.folder), ref=found.base)
        return recipe.model_copy(update={"source": source}), f" on {wanted[:16]}"

    def _branch(self, candidate: CandidateSpec, recipe: KernelSpec) -> Iterator[Revision]:
        """Yield the kernel of a branch's tip, or with `commits: each` of each new commit."""
        place = self._place(candidate, recipe)
        if place is None:
            raise InputError(
                f"candidate {candidate.name}: the source of {recipe.name} is not a git repository\n"
                "  next: name the branch's repository with `git`"
            )
        assert candidate.branch is not None
        repository = open_commit(place, candidate.branch, self.cache, self.runner, branch=True)
        tip, last = repository.base, self.tips.get(candidate.name, "")
        commits = _commits_between(repository, last, tip)
        each = candidate.commits == "each" and bool(commits)
        for commit in [commit.id for commit in commits] if each else [tip]:
            yield self._at_commit(candidate, recipe, repository, commit, commits, each)

    def _at_commit(
        self,
        candidate: CandidateSpec,
        recipe: KernelSpec,
        repository: Repository,
        commit: str,
        commits: list[Commit],
        each: bool,
    ) -> Revision:
        name = candidate.name
        folder = self.folder / f"{name}-{commit[:16]}-{_recipe_digest(recipe)}"
        if (folder / f"{name}.yaml").is_file():  # written last, in an earlier run
            title = load_kernel_spec(name, folder).summary
        else:
            title = self._write_commit(candidate, recipe, repository, commit, folder)
        return Revision(
            key=f"{name}@{commit[:16]}" if each else name,
            kernel=name,
            baseline=recipe.name,
            id=commit[:16],
            title=title,
            folder=folder,
            series=False,
            commits=tuple(f"{c.id[:12]} {c.subject[:100]}" for c in commits[-COMMITS_SHOWN:]),
            tip=commit,
            once=each,
        )

    def _write_commit(
        self,
        candidate: CandidateSpec,
        recipe: KernelSpec,
        repository: Repository,
        commit: str,
        folder: Path,
    ) -> str:
        """Write the kernel files of a commit and of the baseline; return the revision's title."""
        name = candidate.name
        subject = one_line(repository.read("show", "-s", "--format=%s", commit), 100)
        title = f"{candidate.branch} at {commit[:12]} ({subject})"
        anchored = Repository(
            repository.folder, self._anchor(name, recipe, repository), self.runner
        )
        bare = recipe.model_copy(update={"patches": (), "source": GitSource(git="x", ref="x")})
        spec = kernel_at(bare, anchored, commit, name, folder)
        ensure_recipe(recipe, folder)
        changed = {"patches": (*spec.patches, *recipe.patches), "summary": title}
        write_kernel(spec.model_copy(update=changed))
        return title

    def _anchor(self, name: str, recipe: KernelSpec, repository: Repository) -> str:
        """Return the commit that is the source of a branch's kernels; others are patches to it."""
        if isinstance(recipe.source, GitSource):
            place = repository_place(recipe.folder, recipe.source.git)
            base = open_commit(place, recipe.source.ref, self.cache, self.runner).base
            if repository.commit(base):
                return base
        kept = self.anchors.get(name, "")
        if not kept or repository.commit(kept) is None:
            self.anchors[name] = kept = repository.base
        return kept

    def _place(self, candidate: CandidateSpec, recipe: KernelSpec) -> str | None:
        if candidate.git is not None:
            return repository_place(self.spec.folder, candidate.git)
        if isinstance(recipe.source, GitSource):
            return repository_place(recipe.folder, recipe.source.git)
        return None


def ensure_recipe(recipe: KernelSpec, folder: Path) -> None:
    """Write a kernel file into `folder`, with the patches and fragments that it names."""
    copy_inputs(recipe, folder)
    write_kernel(recipe.model_copy(update={"folder": folder, "source": absolute_source(recipe)}))


def _recipe_digest(recipe: KernelSpec) -> str:
    """Return a digest of the baseline's kernel file and of the files that it names."""
    total = hashlib.sha256(recipe.model_dump_json().encode())
    places = [recipe.place(name) for name in (*recipe.patches, *recipe.fragments)]
    if start := config_file(recipe):
        places.append(start)
    for place in places:
        for file in patch_forms(place):
            total.update(file.read_bytes())
    return total.hexdigest()[:8]


def describe_mailbox(box: Mailbox) -> str:
    """Return the contents of a mailbox in one line: series, superseded ones, replies, the rest."""
    facts = [f"{len(box.series)} series" if box.series else "no series"]
    facts += [f"superseded: {_some(box.superseded)}"] if box.superseded else []
    facts += [f"{box.replies} repl{'ies' if box.replies > 1 else 'y'}"] if box.replies else []
    facts += [f"not understood: {_some(box.odd)}"] if box.odd else []
    return "; ".join(facts)


def _some(parts: Sequence[str]) -> str:
    shown = ", ".join(parts[:_SUBJECTS_SHOWN])
    more = len(parts) - _SUBJECTS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def fetch_series(message_id: str, archive: str, runner: Runner) -> PatchSeries:
    """Return the series that a mail belongs to, in the newest version that its thread has.

    b4 fetches the thread from the URL `archive`. Raises ToolError if that fails, InputError if the
    mail belongs to no series.
    """
    with scratch_folder("b4") as scratch:
        done = runner.run(
            b4_argv(message_id, archive, scratch),
            cwd=scratch,
            idle_s=SILENCE_S,
            deadline_s=LONGEST_S,
        )
        if done.returncode or not (scratch / "thread").is_dir():
            said = one_line("; ".join(done.output.splitlines()[-3:]), 300)
            raise ToolError(
                f"b4 could not fetch {message_id} from {archive}: {said or 'it printed nothing'}"
            )
        found = load_mailbox(scratch / "thread", runner)
    ours = [series for series in found.series if message_id in series.members]
    if not ours and len(found.series) == 1:
        ours = list(found.series)  # the mail is a reply in it
    if not ours:
        titles = "; ".join(f"{one.title!r} <{one.message_id}>" for one in found.series)
        raise InputError(
            f"the mail {message_id} in {archive} belongs to no series; its thread contains "
            f"{titles or 'no patches'}"
        )
    return ours[0]


def b4_argv(message_id: str, archive: str, folder: Path) -> list[str]:
    """Return the b4 command that writes the thread of a mail to the maildir `folder/thread`."""
    program = [sys.executable, "-c", "from b4.command import cmd; cmd()"]
    quiet = ["-q", "-n", "--no-stdin", "-c", f"b4.midmask={archive}/%s"]
    return [*program, *quiet, "mbox", "-C", "-M", "-o", str(folder), "-n", "thread", message_id]


def _commits_between(repository: Repository, last: str, tip: str) -> list[Commit]:
    """Return the first-parent commits after `last`, oldest first; none if `last` is unknown."""
    known = last and repository.commit(last) is not None
    return repository.commits(last, tip) if known else []
