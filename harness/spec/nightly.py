"""Nightly files, read by `vmapbench nightly`: what to measure each night. They hold no secrets."""

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

# Default for what a series from a mailbox may change (harness/build/allowed.py).
SAFE_PATHS = (
    *("mm/**/*.c", "mm/**/*.h", "lib/test_vmalloc.c", "include/linux/mm*.h"),
    *("include/linux/vmalloc.h", "include/trace/events/*.h", "Documentation/**/*.rst"),
    "Documentation/**/*.txt",
)
_KINDS = ("branch", "mbox", "maildir", "patches", "message_id")


class CandidateSpec(Document):
    """One source of changes: exactly one of branch, mbox, maildir, patches and message_id.

    `message_id` may also be the mail's address in an archive, or stand in angle brackets. Paths are
    relative to the file.
    """

    name: Name
    """Name of the candidate in results and notices. Example: `topic`"""
    branch: GitRef | None = None
    """A branch whose new commits are measured. Example: `for-next`"""
    mbox: str | None = None
    """A mailbox file of series. Example: `~/Mail/linux-mm`"""
    maildir: str | None = None
    """A maildir of series; its mails are not moved. Example: `~/Maildir/.linux-mm`"""
    patches: str | None = None
    """A folder of your own patches. Example: `~/patches/topic`"""
    message_id: MessageId | None = None
    """A series of a public archive, fetched by b4. Example:
    `20240102184633.748113-1-urezki@gmail.com`
    """
    git: Repository | None = None
    """The repository; default: that of the baseline's source. Example: `~/linux`"""
    base: GitRef | None = None
    """The base of series; default: their base-commit, else the baseline's source. Example: `v6.12`
    """
    archive: Annotated[str, Field(pattern=r"^https?://[^\s@%]+[^/\s@%]\Z")] = (
        "https://lore.kernel.org/all"
    )
    """The public archive of message_id. Example: `https://lore.kernel.org/all`"""
    commits: Literal["tip", "each"] = "tip"
    """`each` measures every new commit of a branch, `tip` the last one. Example: `each`"""
    paths: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Files a series may change; default for mail: a safe list. Example: `[mm/vmalloc.c]`"""
    sandbox: Literal["none", "required"] | None = None
    """Whether it is built in a sandbox; default: series from mail are. Example: `required`"""

    @model_validator(mode="after")
    def _one_kind(self) -> "CandidateSpec":
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"found {' and '.join(given) or 'none'} of {', '.join(_KINDS)}; expected one"
            )
        if self.branch is not None and (self.base or self.paths or self.sandbox):
            raise ValueError("base, paths and sandbox apply to series only, not to a branch")
        if self.branch is None and self.commits == "each":
            raise ValueError("commits: each applies to a branch only")
        return self

    @property
    def build_sandbox(self) -> Literal["none", "required"]:
        """Whether a series is built in a sandbox: by default if it came by mail."""
        return self.sandbox or ("none" if self.patches is not None else "required")

    @property
    def allowed_paths(self) -> tuple[str, ...] | None:
        """Which files a series may change; None: any.

        By default mail, which anyone may send, is limited; the user's own patches are not.
        """
        return self.paths or (None if self.patches is not None else SAFE_PATHS)


class EmailSpec(Document):
    """Notices by mail."""

    to: Annotated[tuple[Mailbox, ...], Field(min_length=1)]
    """The recipients. Example: `[me@example.org]`"""
    sender: Mailbox
    """The sender. Example: `lab@example.org`"""
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*\Z")] = "localhost"
    """The SMTP server. Example: `localhost`"""
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """Its port. Example: `587`"""
    security: Literal["none", "starttls", "tls"] = "none"
    """Encryption of the connection. Example: `starttls`"""
    user: str | None = None
    """For servers that require a login. Example: `lab`"""
    variable: Variable = "VMAPBENCH_SMTP_PASSWORD"
    """The environment variable that holds the password. Example: `VMAPBENCH_SMTP_PASSWORD`"""

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> "EmailSpec":
        local = self.host in ("localhost", "127.0.0.1", "::1")
        if self.user and self.security == "none" and not local:
            raise ValueError(
                "user: its password would be sent in the clear; set security: starttls"
            )
        return self


class WebhookSpec(Document):
    """Notices as an HTTP POST of JSON."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None  # no user:password@
    """Address to post to. Example: `https://chat.example.org/hook`"""
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
    """Where notices are sent, and about what."""

    email: EmailSpec | None = None
    """Notices by mail. Example: `{to: [me@example.org], sender: lab@example.org}`"""
    webhook: WebhookSpec | None = None
    """Notices by an HTTP POST of JSON. Example: `{url: https://chat.example.org/hook}`"""
    pages: Annotated[str, Field(pattern=r"^https?://[^\s@]+\Z")] | None = None
    """Address of the reports folder, to link pages instead of attaching them. Example: `https://lab.example.org/reports`
    """
    verdicts: bool = False
    """Whether to report series that make no difference as well. Example: `true`"""


class NightlySpec(Document):
    """A nightly run: every candidate against the baseline of every playbook, within a budget."""

    version: Literal[1]
    """Version of the format. Example: `1`"""
    name: Name
    """The name of the file, without .yaml. Example: `mm`"""
    playbooks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Candidates are measured against the baseline of each. Example: `[scaling-simulated.yaml]`"""
    candidates: Annotated[tuple[CandidateSpec, ...], Field(min_length=1)]
    """The sources of changes. Example: `[{name: topic, branch: for-next}]`"""
    gate: tuple[Literal["memory", "failures", "hotplug", "races", "model"], ...] = ()
    """Checks of `vmapbench gate` that a candidate has to pass before it is measured. Example:
    `[memory, races]`
    """
    budget_h: Annotated[float, Field(gt=0, le=24)] = 8.0
    """Hours that a nightly run may take. Example: `8`"""
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]\Z")] = "01:00"
    """When it starts, local time. Example: `"01:00"`"""
    notices: NoticesSpec = NoticesSpec()
    """Where notices are sent. Example: `{verdicts: true}`"""
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
            raise ValueError("two playbooks have the same name, which their results would share")
        return self

    def path(self, name: str) -> Path:
        """Return a path of the file, relative to its folder."""
        return (self.folder / Path(name).expanduser()).resolve()


def is_nightly(path: Path) -> bool:
    """Return whether a file is a nightly file, which names candidates."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return any(line.startswith("candidates:") for line in stream.read(1 << 17).splitlines())
    except OSError:
        return False


def load_nightly(path: Path) -> NightlySpec:
    """Return the nightly file at `path`. Raises InputError or SpecError."""
    return load_document(path, NightlySpec, name=path.stem, folder=str(path.parent.resolve()))
