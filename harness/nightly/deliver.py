"""Delivers notices: by mail, to a web address, as a text to reply with.

Secrets come from the environment and never show up in a message.
"""

import email.policy
import email.utils
import hashlib
import json
import re
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from pathlib import Path

from harness.errors import InfrastructureError
from harness.nightly.state import Notice
from harness.spec.nightly import EmailSpec, NoticesSpec, WebhookSpec
from harness.web import open_once

ATTACHED_LIMIT = 8 << 20  # bytes of a page; many servers take no mail above 10 MiB
_TIMEOUT_S = 60

Send = Callable[[Notice, Path | None], None]
"""Delivers one notice, with the page of its run where there is one. Raises InfrastructureError."""


def channels(spec: NoticesSpec, environment: Mapping[str, str]) -> dict[str, Send]:
    """Return the function that delivers through each channel of the file. Reads the secrets."""
    found: dict[str, Send] = {}
    if spec.email:
        mail = spec.email
        password = environment.get(mail.variable)
        found["email"] = lambda notice, page: send_mail(
            compose(notice, mail, page, spec.pages), mail, password
        )
    if spec.webhook:
        hook = spec.webhook
        found["webhook"] = lambda notice, page: post(notice, page, spec.pages, hook, environment)
    return found


def missing_secrets(spec: NoticesSpec, environment: Mapping[str, str]) -> list[str]:
    """Return what has to be in the environment for notices and is not, a line each."""
    found = []
    if spec.email and spec.email.user and not environment.get(spec.email.variable):
        found.append(f"mail through {spec.email.host}: ${spec.email.variable} is not set")
    hook = spec.webhook
    if hook and not re.match(r"https?://", hook_url(hook, environment)):
        found.append(f"webhook ${hook.url_variable}: not set, or no http address")
    if hook and hook.variable and not environment.get(hook.variable):
        found.append(f"webhook: ${hook.variable} is not set")
    return found


def hook_url(spec: WebhookSpec, environment: Mapping[str, str]) -> str:
    """Return the address of a webhook, which may be a secret; empty where it is not set."""
    return spec.url or environment.get(spec.url_variable or "", "")


def compose(notice: Notice, spec: EmailSpec, page: Path | None, pages: str | None) -> EmailMessage:
    """Return the mail: its text fit for a reply, the page attached, or linked where it is served.

    The same notice has the same Message-ID, so that a mail sent twice is shown once.
    """
    message = EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"] = spec.sender, ", ".join(spec.to)
    message["Subject"] = f"[vmapbench] {notice.title}"
    message["Date"] = email.utils.format_datetime(email.utils.localtime())
    digest = hashlib.sha256(notice.key.encode("utf-8", "replace")).hexdigest()[:32]
    message["Message-ID"] = f"<{digest}@{spec.sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    if notice.message_id:
        message["In-Reply-To"] = message["References"] = f"<{notice.message_id}>"
    link = page_link(notice, pages)
    message.set_content(notice.text + (f"\n\nPage: {link}" if link else "") + "\n", cte="8bit")
    if not link and page and page.stat().st_size <= ATTACHED_LIMIT:
        content = page.read_bytes()
        message.add_attachment(content, maintype="text", subtype="html", filename="vmapbench.html")
    return message


def page_link(notice: Notice, pages: str | None) -> str:
    """Return the address of the notice's page, where pages are served."""
    return f"{pages.rstrip('/')}/{notice.page}" if pages and notice.page else ""


def send_mail(message: EmailMessage, spec: EmailSpec, password: str | None) -> None:
    """Hand a mail to the server. Raises InfrastructureError, without the password."""
    where = f"{spec.host}:{spec.port}"
    if spec.user and not password:
        raise InfrastructureError(f"mail through {where}: ${spec.variable} is not set")
    try:
        context = ssl.create_default_context()
        if spec.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                spec.host, spec.port, timeout=_TIMEOUT_S, context=context
            )
        else:
            server = smtplib.SMTP(spec.host, spec.port, timeout=_TIMEOUT_S)
        with server:
            if spec.security == "starttls":
                server.starttls(context=context)
            if spec.user:
                server.login(spec.user, password or "")
            server.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        said = f"{type(error).__name__}: {error}"
        raise InfrastructureError(
            f"mail through {where}: {said.replace(password, '***') if password else said}"
        ) from None


def post(
    notice: Notice,
    page: Path | None,
    pages: str | None,
    spec: WebhookSpec,
    environment: Mapping[str, str],
) -> None:
    """POST a notice as JSON. Raises InfrastructureError, without address or credentials."""
    url = hook_url(spec, environment)
    named = spec.url or f"${spec.url_variable}"
    if not re.match(r"https?://", url):
        raise InfrastructureError(f"webhook {named}: not set, or no http address")
    headers = {"Content-Type": "application/json", "User-Agent": "vmapbench"}
    if spec.variable:
        if not environment.get(spec.variable):
            raise InfrastructureError(f"webhook {named}: ${spec.variable} is not set")
        headers["Authorization"] = environment[spec.variable]
    body = {
        "version": 1,
        "key": notice.key,
        "title": notice.title,
        "text": notice.text,
        "night": notice.date,
        "worse": notice.worse,
        "page": page_link(notice, pages) or (str(page) if page else ""),
    }
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 http and https only, above
    try:
        with open_once(request, timeout_s=_TIMEOUT_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        error.close()
        moved = ": it is somewhere else; name that address" if 300 <= error.code < 400 else ""
        raise InfrastructureError(f"webhook {named}: answered {error.code}{moved}") from None
    except (OSError, ValueError) as error:
        kind = type(getattr(error, "reason", error)).__name__
        raise InfrastructureError(f"webhook {named}: not reached ({kind})") from None
