"""What is measured every night: one file, read by `vmapbench nightly`. No secrets in it."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, model_validator

from harness.spec.document import Document, load_document
from harness.spec.kernel import GitRef, Name, Repository

Mailbox = Annotated[str, Field(pattern=r"^[^\s@<>,;\"]+@[^\s@<>,;\"]+\Z")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")]


def _message_id(given: object) -> object:
    """Return the message id of a mail in an archive's address or in angle brackets."""
    if not isinstance(given, str):
        return given
    if re.match(r"https?://", given):
        parts = [unquote(part) for part in urlsplit(given).path.split("/") if "@" in unquote(part)]
        return parts[-1] if parts else given
    return given.strip().removeprefix("<").removesuffix(">")


MessageId = Annotated[
    str,
    BeforeValidator(_message_id),
    Field(pattern=r"^[A-Za-z0-9][^\s<>/\\]{0,250}@[^\s<>/\\]+\Z"),
]

# What a series from a mailbox may change unless the file says otherwise, by kind of file: see
# harness/build/allowed.py.
SAFE_PATHS = (
    *("mm/**/*.c", "mm/**/*.h", "lib/test_vmalloc.c", "include/linux/mm*.h"),
    *("include/linux/vmalloc.h", "include/trace/events/*.h", "Documentation/**/*.rst"),
    "Documentation/**/*.txt",
)
_KINDS = ("branch", "mbox", "maildir", "patches", "message_id")


class CandidateSpec(Document):
    """One place that changes come from: exactly one of the five kinds.

    `message_id` is also taken as an archive's address of the mail, or in angle brackets.
    `git`: a repository, by default that of the baseline's source. `base`: what series are applied
    to, by default their `base-commit:`, else the baseline's source. `commits: each` measures every
    new commit of a branch, `tip` the last one of the night. Relative paths start at the file.
    """

    name: Name
    branch: GitRef | None = None
    mbox: str | None = None
    maildir: str | None = None
    patches: str | None = None
    message_id: MessageId | None = None
    git: Repository | None = None
    base: GitRef | None = None
    archive: Annotated[str, Field(pattern=r"^https?://[^\s@%]+[^/\s@%]\Z")] = (
        "https://lore.kernel.org/all"
    )
    commits: Literal["tip", "each"] = "tip"
    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    sandbox: Literal["none", "required"] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "CandidateSpec":
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'} of {', '.join(_KINDS)}; expected one"
            )
        if self.branch is not None and (self.base or self.paths or self.sandbox):
            raise ValueError(
                "base, paths and sandbox are for series; a branch is measured as it is"
            )
        if self.branch is None and self.commits == "each":
            raise ValueError("commits: each is for a branch")
        return self

    @property
    def build_sandbox(self) -> Literal["none", "required"]:
        """How a series is built: in a sandbox if it came by mail and the file says nothing."""
        return self.sandbox or ("none" if self.patches is not None else "required")

    @property
    def allowed_paths(self) -> tuple[str, ...] | None:
        """What a series may change: mail is from anyone, a folder of patches is the user's.

        None: anything.
        """
        return self.paths or (None if self.patches is not None else SAFE_PATHS)


class EmailSpec(Document):
    """Who gets notices. The password is in the environment variable `variable`."""

    to: Annotated[tuple[Mailbox, ...], Field(min_length=1)]
    sender: Mailbox
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*\Z")] = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "none"
    user: str | None = None
    variable: Variable = "VMAPBENCH_SMTP_PASSWORD"

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> "EmailSpec":
        local = self.host in ("localhost", "127.0.0.1", "::1")
        if self.user and self.security == "none" and not local:
            raise ValueError("user: a password would travel in the clear; set security: starttls")
        return self


class WebhookSpec(Document):
    """What is told of notices by a POST of JSON. A secret URL is in the variable `url_variable`.

    `variable` names what holds the Authorization header.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None  # no user:password@
    url_variable: Variable | None = None
    variable: Variable | None = None

    @model_validator(mode="after")
    def _one_address(self) -> "WebhookSpec":
        if (self.url is None) == (self.url_variable is None):
            raise ValueError("name either url or url_variable")
        return self


class NoticesSpec(Document):
    """Where news go. `pages`: address of the reports folder, to link pages rather than attach them.

    `verdicts`: whether a series is news that makes no difference.
    """

    email: EmailSpec | None = None
    webhook: WebhookSpec | None = None
    pages: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None
    verdicts: bool = False


class NightlySpec(Document):
    """One night: every candidate against the baseline of every playbook, within a budget."""

    version: Literal[1]
    name: Name
    playbooks: Annotated[tuple[str, ...], Field(min_length=1)]
    candidates: Annotated[tuple[CandidateSpec, ...], Field(min_length=1)]
    budget_h: Annotated[float, Field(gt=0, le=24)] = 8.0
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "01:00"
    notices: NoticesSpec = NoticesSpec()
    folder: Path  # of the file; set by `load_nightly`

    @model_validator(mode="after")
    def _names_differ(self) -> "NightlySpec":
        names = [candidate.name for candidate in self.candidates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"candidates named twice: {', '.join(twice)}")
        stems = [Path(playbook).stem for playbook in self.playbooks]
        if len(set(stems)) < len(stems):
            raise ValueError("two playbooks have one name; it is what their results go by")
        return self

    def path(self, name: str) -> Path:
        """Return a path that the file names."""
        return (self.folder / Path(name).expanduser()).resolve()


def is_nightly(path: Path) -> bool:
    """Return whether a file is meant as a night: it names candidates."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return any(line.startswith("candidates:") for line in stream.read(1 << 17).splitlines())
    except OSError:
        return False


def load_nightly(path: Path) -> NightlySpec:
    """Return the night that `path` describes. Raises InputError or SpecError."""
    return load_document(path, NightlySpec, name=path.stem, folder=str(path.parent.resolve()))
