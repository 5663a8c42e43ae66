"""What nightly runs measure: one file, read by `vmapbench nightly`. No secrets in it."""

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
    new commit of a branch, `tip` the last one of the day. Relative paths start at the file.
    """

    name: Name
    """What the candidate is called in results and notices. Example: `topic`"""
    branch: GitRef | None = None
    """A branch whose new commits are measured. Example: `for-next`"""
    mbox: str | None = None
    """A mailbox file of series. Example: `~/Mail/linux-mm`"""
    maildir: str | None = None
    """A maildir of series; nothing in it is moved. Example: `~/Maildir/.linux-mm`"""
    patches: str | None = None
    """A folder of patches of the user's. Example: `~/patches/topic`"""
    message_id: MessageId | None = None
    """A series of a public archive, fetched by b4. Example:
    `20240102184633.748113-1-urezki@gmail.com`
    """
    git: Repository | None = None
    """The repository; that of the baseline's source unless given. Example: `~/linux`"""
    base: GitRef | None = None
    """What series are applied to; their base-commit, else the baseline's source. Example: `v6.12`
    """
    archive: Annotated[str, Field(pattern=r"^https?://[^\s@%]+[^/\s@%]\Z")] = (
        "https://lore.kernel.org/all"
    )
    """The public archive of message_id. Example: `https://lore.kernel.org/all`"""
    commits: Literal["tip", "each"] = "tip"
    """`each` measures every new commit of a branch, `tip` the last one. Example: `each`"""
    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """What a series may change; for mail a safe list unless given. Example: `[mm/vmalloc.c]`"""
    sandbox: Literal["none", "required"] | None = None
    """Whether it is built in a sandbox; mail always unless said otherwise. Example: `required`"""

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
    """Who gets notices. Example: `[me@example.org]`"""
    sender: Mailbox
    """Whom they come from. Example: `lab@example.org`"""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*\Z")] = "localhost"
    """The SMTP server. Example: `localhost`"""
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """Its port. Example: `587`"""
    security: Literal["none", "starttls", "tls"] = "none"
    """How the connection is protected. Example: `starttls`"""
    user: str | None = None
    """For servers that want a login. Example: `lab`"""
    variable: Variable = "VMAPBENCH_SMTP_PASSWORD"
    """The environment variable that holds the password. Example: `VMAPBENCH_SMTP_PASSWORD`"""

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> "EmailSpec":
        local = self.host in ("localhost", "127.0.0.1", "::1")
        if self.user and self.security == "none" and not local:
            raise ValueError("user: a password would travel in the clear; set security: starttls")
        return self


class WebhookSpec(Document):
    """Notices as a POST of JSON. A secret URL is in the variable `url_variable`.

    `variable` names what holds the Authorization header.
    """

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None  # no user:password@
    """Where notices are posted as JSON. Example: `https://chat.example.org/hook`"""
    url_variable: Variable | None = None
    """The environment variable that holds a secret URL. Example: `HOOK_URL`"""
    variable: Variable | None = None
    """The environment variable that holds the Authorization header. Example: `HOOK_TOKEN`"""

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
    """Notices by mail. Example: `{to: [me@example.org], sender: lab@example.org}`"""
    webhook: WebhookSpec | None = None
    """Notices by a POST of JSON. Example: `{url: https://chat.example.org/hook}`"""
    pages: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None
    """The address of the reports folder, to link pages. Example: `https://lab.example.org/reports`
    """
    verdicts: bool = False
    """Whether a series that makes no difference is news. Example: `true`"""


class NightlySpec(Document):
    """A nightly run: every candidate against the baseline of every playbook, within a budget."""

    version: Literal[1]
    """Of the format. Example: `1`"""
    name: Name
    """The name of the file, without .yaml. Example: `mm`"""
    playbooks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Against whose baselines candidates are measured. Example: `[scaling-simulated.yaml]`"""
    candidates: Annotated[tuple[CandidateSpec, ...], Field(min_length=1)]
    """Where changes come from. Example: `[{name: topic, branch: for-next}]`"""
    gate: tuple[Literal["memory", "failures", "hotplug", "races", "model"], ...] = ()
    """Checks of `vmapbench gate` that a candidate has to pass before it is measured. Example:
    `[memory, races]`
    """
    budget_h: Annotated[float, Field(gt=0, le=24)] = 8.0
    """Hours that a nightly run may take. Example: `8`"""
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "01:00"
    """When it begins, local time. Example: `"01:00"`"""
    notices: NoticesSpec = NoticesSpec()
    """Where news go. Example: `{verdicts: true}`"""
    folder: Path  # of the file; set by `load_nightly`
    """The folder of the file."""

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
    """Return whether a file is meant for nightly runs: it names candidates."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return any(line.startswith("candidates:") for line in stream.read(1 << 17).splitlines())
    except OSError:
        return False


def load_nightly(path: Path) -> NightlySpec:
    """Return the nightly runs that `path` describes. Raises InputError or SpecError."""
    return load_document(path, NightlySpec, name=path.stem, folder=str(path.parent.resolve()))
