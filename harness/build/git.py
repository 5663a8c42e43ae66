"""The one place that runs git, and the repositories in the cache that it runs on.

    repository = borrow_commit("~/linux", "v6.12", cache, runner)    # or a URL
    repository.read("rev-list", "--count", repository.base)

The user's repositories are read, never written: our own, bare, in the cache, borrow their objects,
and whatever is more than looking up a name runs there. None of the caller's GIT_* variables gets
through (`harness.process`), and no configuration of the system, the user or a repository runs a
program. What is kept of the user's is in `_USER_SETTINGS`.
"""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from harness.build.cache import Cache
from harness.build.sandbox import SandboxPaths, contained_argv
from harness.errors import InputError
from harness.files import replace_file
from harness.process import Completed, Runner
from harness.text import one_line

SILENCE_S = 120.0
"""How long git may do nothing: a server that is silent, whatever the protocol."""
LONGEST_S = 6 * 3600.0
"""The longest that git may take, which bounds a server that dribbles."""

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",  # in a worktree a link is a file with its target in it
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.safecrlf": "false",
    "core.warnAmbiguousRefs": "false",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.writeCommitGraph": "false",
    "am.threeWay": "false",
    "advice.mergeConflict": "false",
    "credential.helper": "",
    "http.followRedirects": "initial",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(int(SILENCE_S)),
    "user.name": "vmapbench",
    "user.email": "vmapbench@localhost",
}
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",  # no ext::, fd:: or other remote helper
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=60",
    "GIT_PROXY_COMMAND": "",
    "GIT_ASKPASS": "true",
    "GIT_PAGER": "cat",
    "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",  # the same series gives the same commits
    "LC_ALL": "C",
}
# Of the user's own configuration: where things are and whom to trust, nothing that is run.
_USER_SETTINGS = (
    r"^(safe\.directory|core\.excludesfile|http\..*(proxy|sslcainfo|sslcapath)"
    r"|url\..*\.insteadof)$"
)
# What git itself would do to files on their way in and out, where the tree's attributes say so.
# Programs that they name (filter, diff, merge) would stand in a configuration: ours has none.
_ATTRIBUTES = "* -text -ident -working-tree-encoding\n"

FIXED_DATES = {"GIT_AUTHOR_DATE": _ENVIRONMENT["GIT_COMMITTER_DATE"]}


def run_git(
    runner: Runner,
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: Path | None = None,
    view: SandboxPaths | None = None,
) -> Completed:
    """Run git with our settings, within SILENCE_S and LONGEST_S; the caller looks at its end.

    With `view` it runs in a sandbox that sees no more than that.
    """
    settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
    environment = {**_ENVIRONMENT, **_user_environment(runner), **(env or {})}
    argv = ["git", *settings, *arguments]
    if view:
        argv = contained_argv(argv, view, runner, environment=environment)
    done = runner.run(
        argv, cwd=cwd, env=environment, stdin=stdin, idle_s=SILENCE_S, deadline_s=LONGEST_S
    )
    if not done.timed_out:
        return done
    why = f"{done.elapsed_s:.0f} s" if done.elapsed_s >= LONGEST_S else f"{SILENCE_S:.0f} s silence"
    return replace(
        done, returncode=done.returncode or 1, output=f"{done.output}\nended after {why}"
    )


def run_outside(
    runner: Runner,
    arguments: Sequence[str],
    folder: Path,
    stdin: Path | None = None,
    view: SandboxPaths | None = None,
) -> Completed:
    """Run git in a folder that is no repository, whatever it lies in."""
    where = ["-C", str(folder), "--git-dir=/dev/null"]
    return run_git(runner, [*where, *arguments], stdin=stdin, view=view)


def _user_environment(runner: Runner) -> dict[str, str]:
    """Return the settings that are kept of the user's, as git takes them from an environment."""
    homes = tuple(os.environ.get(name) for name in ("HOME", "XDG_CONFIG_HOME"))
    if homes not in _READ:
        _READ[homes] = _read_user_settings(runner)
    return _READ[homes]


_READ: dict[tuple[str | None, ...], dict[str, str]] = {}


def _read_user_settings(runner: Runner) -> dict[str, str]:
    arguments = ["config", "--includes", "--null", "--get-regexp", _USER_SETTINGS]
    read = runner.run(["git", "--git-dir=/dev/null", *arguments], env={"LC_ALL": "C"})
    entries = read.output.split("\0") if read.returncode == 0 else []
    pairs = [entry.partition("\n")[::2] for entry in entries if "\n" in entry]
    found = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, (key, value) in enumerate(pairs):
        found |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return found


@dataclass(frozen=True)
class Commit:
    """One commit. `subject`: one printable line."""

    id: str
    parents: tuple[str, ...]
    subject: str


@dataclass(frozen=True)
class Repository:
    """A bare repository in the cache. `base`: the commit of the source it was opened for."""

    folder: Path
    base: str
    runner: Runner

    def git(
        self,
        *arguments: str,
        tree: Path | None = None,
        env: Mapping[str, str] | None = None,
        view: SandboxPaths | None = None,
    ) -> Completed:
        """Run git on this repository, or in its worktree at `tree`; the caller looks at the end.

        With `view` it runs in a sandbox that sees this repository and no more than that.
        """
        where = ["-C", str(tree)] if tree else [f"--git-dir={self.folder}"]
        if view:
            view = SandboxPaths(
                (self.folder, *view.writable), (*self._alternates(), *view.readable)
            )
        return run_git(self.runner, [*where, *arguments], env=env, view=view)

    def _alternates(self) -> list[Path]:
        """Return the folders with objects of others that are used here, and what those use in turn.

        A clone of someone else's may name any folder; one that is not called objects is none.
        """
        found: list[Path] = []
        waiting = [self.folder / "objects"]
        while waiting:
            folder = waiting.pop()
            file = folder / "info/alternates"
            lines = os.fsdecode(file.read_bytes()).splitlines() if file.is_file() else []
            named = [(folder / line).resolve() for line in lines if line and line[0] != "#"]
            new = [path for path in named if path.name == "objects" and path not in found]
            found += new
            waiting += new
        return found

    def read(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Return what git says. Raises InputError with its last lines where it fails."""
        done = self.git(*arguments, env=env)
        if done.returncode:
            raise InputError(f"git {arguments[0]} in {self.folder.name}: {last_lines(done.output)}")
        return done.output.strip()

    def commit(self, ref: str) -> str | None:
        """Return the id of the commit that `ref` names here, or None."""
        arguments = ["rev-parse", "--verify", "-q", "--end-of-options", f"{ref}^{{commit}}"]
        done = self.git(*arguments)
        return None if done.returncode else done.output.strip()

    def tree_of(self, commit: str) -> str:
        """Return the id of a commit's contents: two alike are one kernel."""
        return self.read("rev-parse", f"{commit}^{{tree}}")

    def commits(self, old: str, new: str) -> list[Commit]:
        """Return the commits after `old` on the first-parent line of `new`, the oldest first."""
        form = ["--reverse", "--no-commit-header", "--format=%H%x09%P%x09%s%x00"]
        listed = self.read("rev-list", "--first-parent", *form, f"{old}..{new}").split("\0")
        fields = [entry.strip("\n").split("\t", 2) for entry in listed if entry.strip()]
        return [
            Commit(commit, tuple(parents.split()), one_line(subject, 200))
            for commit, parents, subject in fields
        ]

    def check_out(self, commit: str, folder: Path) -> None:
        """Write the files of `commit` into the empty `folder`, byte for byte, links as links."""
        index = {"GIT_INDEX_FILE": str(folder.with_name(f"{folder.name}.index"))}
        try:
            where = ["-c", "core.symlinks=true", f"--work-tree={folder}"]
            self.read(*where, "read-tree", "-u", "--reset", commit, env=index)
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)


def begin_repository(folder: Path, runner: Runner) -> Repository:
    """Make an empty repository at `folder` in which no attribute has an effect."""
    done = run_git(runner, ["init", "-q", "--bare", "--template=", str(folder)])
    if done.returncode:
        raise InputError(f"git init {folder}: {last_lines(done.output)}")
    for place, text in (("info/attributes", _ATTRIBUTES), ("objects/info/.keep", "")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="ascii")
    return Repository(folder, "", runner)


def repository_place(folder: Path, named: str) -> str:
    """Return an absolute path for a repository that a file in `folder` names; a URL stays one.

    A `file:` URL is a path as well. What does not exist is a path unless it has the form of a URL.
    """
    local = folder / Path(named).expanduser()
    if not local.exists():
        if named.startswith("file://"):
            local = Path(unquote(urlsplit(named).path))
        elif re.match(r"[A-Za-z][\w+.-]*:|[^/]+@[^/]+:", named):  # also HOST:PATH
            return named
    return str(local.resolve())


def open_commit(
    place: str, ref: str, cache: Cache, runner: Runner, *, branch: bool = False, alone: bool = False
) -> Repository:
    """Return a repository of our own whose `base` is `ref` of the one at `place`, a path or URL.

    Of a local repository the objects are borrowed; of a URL they are fetched, with their history
    unless `alone`. With `branch` a branch comes before a tag of the same name. Raises InputError
    where there is no such commit.
    """
    local = Path(place) if place.startswith("/") else None
    name = f"of-{_digest(place)}" if local or not alone else f"one-{_digest(f'{place} {ref}')}"
    folder = cache.place("git", name)
    refs = [f"refs/heads/{ref}", ref] if branch else [ref]
    with cache.lock(name, lambda: None):
        if not (folder / "HEAD").is_file():
            begin_repository(folder, runner)
        ours = Repository(folder, "", runner)
        base = _share_objects(ours, local, refs) if local else _fetch(ours, place, refs, alone)
    return replace(ours, base=base)


def _share_objects(ours: Repository, place: Path, refs: Sequence[str]) -> str:
    """Let `ours` use the objects of the repository at `place`; return the commit of a ref there."""
    folders = ask_user_repository(
        place, ["rev-parse", "--git-path", "objects", "--git-path", "shallow"], ours.runner
    )
    if folders.returncode:
        raise InputError(f"looking into {place}: {last_lines(folders.output)}")
    objects, shallow = ((place / line).resolve() for line in folders.output.splitlines())
    replace_file(ours.folder / "objects/info/alternates", f"{objects}\n")
    cut = shallow.read_text(encoding="ascii") if shallow.is_file() else ""
    if cut or (ours.folder / "shallow").exists():
        replace_file(ours.folder / "shallow", cut)
    _share_promisor(ours, place)
    for ref in refs:
        arguments = ["rev-parse", "--verify", "-q", "--end-of-options", f"{ref}^{{commit}}"]
        done = ask_user_repository(place, arguments, ours.runner)
        if done.returncode == 0 and (found := ours.commit(done.output.strip())):
            return found
    advice = "`git fetch --tags` what is missing, or name another commit"
    if cut:
        advice = "it is a shallow clone, fetch more of it (git fetch --deepen=100)"
    raise InputError(f"{place} has no commit {refs[-1]!r}\n  next: {advice}")


def _share_promisor(ours: Repository, place: Path) -> None:
    """Let `ours` fetch what a partial clone at `place` left at its server."""
    arguments = ["config", "--get-regexp", r"^remote\..*\.promisor$", "^true$"]
    promised = ask_user_repository(place, arguments, ours.runner)
    if promised.returncode:
        return
    name = promised.output.split(".", 1)[1].rpartition(".promisor")[0].splitlines()[0]
    url = ask_user_repository(place, ["config", "--get", f"remote.{name}.url"], ours.runner)
    server = repository_place(place, url.output.strip())
    for key, value in (("url", server), ("promisor", "true"), ("partialclonefilter", "blob:none")):
        ours.read("config", f"remote.promisor.{key}", value)


def ask_user_repository(place: Path, arguments: Sequence[str], runner: Runner) -> Completed:
    """Run git, for a question, on the user's repository at `place`; on none that it lies in.

    Raises InputError where there is none.
    """
    if not place.is_dir():
        raise InputError(f"{place} is not there; expected a git repository")
    if not (place / ".git").exists() and not (place / "HEAD").is_file():
        raise InputError(f"{place} is no git repository")
    return run_git(runner, arguments, cwd=place, env={"GIT_NO_LAZY_FETCH": "1"})


def _fetch(ours: Repository, place: str, refs: Sequence[str], alone: bool) -> str:
    said = ""
    for ref in refs:
        kept = f"refs/fetched/{_digest(ref)}"
        if re.fullmatch(r"[0-9a-f]{7,40}", ref) and (known := ours.commit(ref)):
            return known  # a commit id never changes its meaning
        depth = ["--depth=1"] if alone else []
        arguments = ["fetch", "-q", "--no-tags", "--no-write-fetch-head", *depth]
        arguments += ["--", place, f"+{ref}:{kept}"]
        done = ours.git(*arguments)
        if done.returncode == 0 and (found := ours.commit(kept)):
            return found
        said = last_lines(done.output)
        if "couldn't find remote ref" not in said:
            break
    raise InputError(f"fetching {refs[-1]} of {one_line(place)}: {said}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def last_lines(output: str) -> str:
    """Return the last lines of a program that failed, as one printable line."""
    lines = [one_line(line, 400) for line in output.splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or "no message"
