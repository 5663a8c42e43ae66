"""Delivers notices by mail and webhook.

Secrets are read from the environment and never appear in a message.
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

ATTACHED_LIMIT = 8 << 20  # bytes of a page; many servers reject mail above 10 MiB
_TIMEOUT_S = 60

Send = Callable[[Notice, Path | None], None]
"""Delivers a notice, with the page of its run if that exists. Raises InfrastructureError."""


def channels(spec: NoticesSpec, environment: Mapping[str, str]) -> dict[str, Send]:
    """Return name -> delivering function for the configured channels.

    `environment` has the secrets; see `missing_secrets`.
    """
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
    """Return a line for each environment variable that notices need and that is missing."""
    found = []
    if spec.email and spec.email.user and not environment.get(spec.email.variable):
        found.append(f"mail through {spec.email.host}: ${spec.email.variable} is not set")
    hook = spec.webhook
    if hook and not re.match(r"https?://", hook_url(hook, environment)):
        found.append(f"webhook: ${hook.url_variable} is not set to an http or https URL")
    if hook and hook.variable and not environment.get(hook.variable):
        found.append(f"webhook: ${hook.variable} is not set")
    return found


def hook_url(spec: WebhookSpec, environment: Mapping[str, str]) -> str:
    """Return the URL of a webhook, which may be a secret; empty if it is not set."""
    return spec.url or environment.get(spec.url_variable or "", "")


def compose(notice: Notice, spec: EmailSpec, page: Path | None, pages: str | None) -> EmailMessage:
    """Return the mail of a notice. The page is attached, or linked if `pages` serves it.

    `pages`: base URL of the served pages. The Message-ID depends only on the notice, so that mail
    clients show a mail that was sent twice once.
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
    """Return the URL of the notice's page below `pages`; empty without either."""
    return f"{pages.rstrip('/')}/{notice.page}" if pages and notice.page else ""


def send_mail(message: EmailMessage, spec: EmailSpec, password: str | None) -> None:
    """Send a mail by SMTP. Raises InfrastructureError, with the password masked."""
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
    """POST a notice as JSON. Raises InfrastructureError, without the URL or credentials."""
    url = hook_url(spec, environment)
    named = spec.url or f"${spec.url_variable}"
    if not re.match(r"https?://", url):
        raise InfrastructureError(f"webhook {named}: not set to an http or https URL")
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
        moved = ": redirects are not followed; set the new URL" if 300 <= error.code < 400 else ""
        raise InfrastructureError(f"webhook {named}: HTTP status {error.code}{moved}") from None
    except (OSError, ValueError) as error:
        kind = type(getattr(error, "reason", error)).__name__
        raise InfrastructureError(f"webhook {named}: cannot connect ({kind})") from None
