"""The one place that runs git, and the repositories in the cache that it runs on.

    repository = borrow_commit("~/linux", "v6.12", cache, runner)    # or a URL
    repository.read("rev-list", "--count", repository.base)

The user's repositories are never written. Bare repositories of our own in the cache borrow their
objects, and everything except looking up a name runs there. None of the caller's GIT_* variables is
passed on (`harness.process`), and no configuration of the system, the user or a repository can run
a program. `_USER_SETTINGS` lists the user's settings that are kept.
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
"""How long git may be idle, for servers that do not answer, whatever the protocol."""
LONGEST_S = 6 * 3600.0
"""How long git may take in total, for servers that send slowly."""

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.attributesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.symlinks": "false",  # in a worktree a link is a file that contains its target
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
    "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",  # so that the same series gives the same commits
    "LC_ALL": "C",
}
# The user's settings of where things are and whom to trust, none that runs a program.
_USER_SETTINGS = (
    r"^(safe\.directory|core\.excludesfile|http\..*(proxy|sslcainfo|sslcapath)"
    r"|url\..*\.insteadof)$"
)
# Conversions by git itself that a tree's attributes could request at checkout and commit. Programs
# that they name (filter, diff, merge) must be defined in a configuration, and ours has none.
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
    """Run git with our settings, within SILENCE_S and LONGEST_S; the caller checks the result.

    With `view` it runs in a sandbox that sees only that.
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
    """Run git in a folder that is not a repository, even if a parent is one."""
    where = ["-C", str(folder), "--git-dir=/dev/null"]
    return run_git(runner, [*where, *arguments], stdin=stdin, view=view)


def _user_environment(runner: Runner) -> dict[str, str]:
    """Return the user's settings that are kept, as environment variables for git."""
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
        """Run git on this repository or its worktree at `tree`; the caller checks the result.

        With `view` it runs in a sandbox that sees only that and this repository.
        """
        where = ["-C", str(tree)] if tree else [f"--git-dir={self.folder}"]
        if view:
            view = SandboxPaths(
                (self.folder, *view.writable), (*self._alternates(), *view.readable)
            )
        return run_git(self.runner, [*where, *arguments], env=env, view=view)

    def _alternates(self) -> list[Path]:
        """Return the object folders of other repositories used here, directly and indirectly.

        A repository of someone else may name any folder; those not called `objects` are ignored.
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
        """Return the output of git. Raises InputError with its last lines if it fails."""
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
        """Return the tree id of a commit; commits with equal ids are the same kernel."""
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
    """Create an empty repository at `folder` in which attributes have no effect."""
    done = run_git(runner, ["init", "-q", "--bare", "--template=", str(folder)])
    if done.returncode:
        raise InputError(f"git init {folder}: {last_lines(done.output)}")
    for place, text in (("info/attributes", _ATTRIBUTES), ("objects/info/.keep", "")):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="ascii")
    return Repository(folder, "", runner)


def repository_place(folder: Path, named: str) -> str:
    """Return the absolute path, or the URL, of a repository named by a file in `folder`.

    A `file:` URL is a path as well. What does not exist is a path unless it looks like a URL.
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

    Objects of a local repository are borrowed; from a URL they are fetched, with their history
    unless `alone`. With `branch` a branch takes precedence over a tag of the same name. Raises
    InputError if there is no such commit.
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
    """Let `ours` use the objects of the repository at `place`; return the last ref's commit."""
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
    advice = "fetch what is missing (git fetch --tags), or name another commit"
    if cut:
        advice = "it is a shallow clone, fetch more of it (git fetch --deepen=100)"
    raise InputError(f"{place} has no commit {refs[-1]!r}\n  next: {advice}")


def _share_promisor(ours: Repository, place: Path) -> None:
    """Let `ours` fetch objects that a partial clone at `place` lacks from its server."""
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
    """Query the user's repository at `place`, and not one that contains `place`.

    Raises InputError if there is none.
    """
    if not place.is_dir():
        raise InputError(f"{place} does not exist; expected a git repository")
    if not (place / ".git").exists() and not (place / "HEAD").is_file():
        raise InputError(f"{place} is not a git repository")
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
    """Return the last three lines of output as one printable line."""
    lines = [one_line(line, 400) for line in output.splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or "no message"
