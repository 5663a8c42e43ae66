"""Notices over real servers on this machine: SMTP with and without TLS and login, and HTTP."""

import base64
import email
import http.server
import json
import socket
import ssl
import threading
from dataclasses import replace

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from harness.errors import InfrastructureError
from harness.nightly.deliver import channels
from harness.nightly.state import Notice
from harness.spec.nightly import EmailSpec, NoticesSpec, WebhookSpec

LETTER = Notice(
    key="change|topic|slower|host|run",
    title="topic is slower: +5.0 %\nX-Evil: 1",
    text="topic is slower.\n\n  +5.0 %  whole load, \N{MICRO SIGN}s",
    date="2026-01-02",
    page="run/index.html",
    worse=True,
    message_id="20240102184633.748113-1-urezki@gmail.com",
)
SECRET = "s3cret-Passw0rd"


class Mailbox:
    """What a server takes in."""

    def __init__(self):
        self.mails = []

    async def handle_DATA(self, server, session, envelope):
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def smtp():
    """Starts SMTP servers on free ports of this machine."""
    started = []

    def start(**options):
        mailbox = Mailbox()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        controller = Controller(mailbox, hostname="127.0.0.1", port=port, **options)
        controller.start()
        started.append(controller)
        return mailbox, port

    yield start
    for controller in started:
        controller.stop()


def email_spec(port, **more):
    to = ("dev@lab.example", "list@lab.example")
    return EmailSpec(to=to, sender="vmapbench@lab.example", host="127.0.0.1", port=port, **more)


def deliver(spec, page=None, **environment):
    for send in channels(spec, environment).values():
        send(LETTER, page)


@pytest.fixture
def page(tmp_path):
    file = tmp_path / "index.html"
    file.write_text("<html>the page</html>")
    return file


def test_a_mail_arrives_with_its_page(smtp, page):
    mailbox, port = smtp()
    deliver(NoticesSpec(email=email_spec(port)), page)
    ((to, mail),) = mailbox.mails
    assert to == ["dev@lab.example", "list@lab.example"]
    assert mail["Subject"] == "[vmapbench] topic is slower: +5.0 % X-Evil: 1"
    assert mail["X-Evil"] is None
    assert mail["In-Reply-To"] == "<20240102184633.748113-1-urezki@gmail.com>"
    text, attached = mail.get_payload()
    assert text.get_content_type() == "text/plain"
    assert text.get_payload(decode=True).decode().splitlines() == LETTER.text.splitlines()
    assert attached.get_payload(decode=True) == b"<html>the page</html>"


def test_a_mail_that_is_sent_twice_is_one_to_its_reader(smtp, page):
    mailbox, port = smtp()
    for _ in range(2):
        deliver(NoticesSpec(email=email_spec(port)), page)
    assert len({mail["Message-ID"] for _, mail in mailbox.mails}) == 1


def test_a_page_that_is_served_is_linked(smtp, page):
    mailbox, port = smtp()
    deliver(NoticesSpec(email=email_spec(port), pages="https://lab.example/v/"), page)
    ((_, mail),) = mailbox.mails
    assert not mail.is_multipart()
    assert "Page: https://lab.example/v/run/index.html" in mail.get_payload(decode=True).decode()


def test_a_login_takes_its_password_from_the_environment(smtp):
    seen = []

    def authenticate(server, session, envelope, mechanism, data):
        assert isinstance(data, LoginPassword)
        seen.append((data.login, data.password))
        right = data.password == SECRET.encode()
        return AuthResult(success=right, handled=False)  # the server answers

    mailbox, port = smtp(authenticator=authenticate, auth_require_tls=False)
    spec = NoticesSpec(email=email_spec(port, user="bot", variable="MAIL_PW"))
    deliver(spec, MAIL_PW=SECRET)
    assert seen == [(b"bot", SECRET.encode())]
    assert len(mailbox.mails) == 1
    with pytest.raises(InfrastructureError, match=r"\$MAIL_PW is not set"):
        deliver(spec)
    with pytest.raises(InfrastructureError) as refused:
        deliver(spec, MAIL_PW="wrong-Passw0rd")
    assert "wrong-Passw0rd" not in str(refused.value)


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_mail(smtp, tmp_path, runner):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    runner.run([*request, *names], check=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    mailbox, port = smtp(tls_context=context)
    with pytest.raises(InfrastructureError, match="CERTIFICATE_VERIFY_FAILED"):
        deliver(NoticesSpec(email=email_spec(port, security="starttls")))
    assert mailbox.mails == []


def test_a_server_that_is_not_there_is_named(smtp):
    with pytest.raises(InfrastructureError, match=r"mail through 127\.0\.0\.1:1"):
        deliver(NoticesSpec(email=email_spec(1)))


@pytest.fixture
def hook():
    """A web server that takes POSTs; `answer` is the status that it gives."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.taken.append((dict(self.headers), json.loads(body)))
            self.send_response(self.server.answer)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.taken, server.answer = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_json(hook, page):
    url = f"http://127.0.0.1:{hook.server_port}/notify"
    token = "Basic " + base64.b64encode(SECRET.encode()).decode()
    deliver(NoticesSpec(webhook=WebhookSpec(url=url, variable="TOKEN")), page, TOKEN=token)
    ((headers, body),) = hook.taken
    assert headers["Authorization"] == token
    assert body == {
        "version": 1,
        "key": LETTER.key,
        "title": LETTER.title,
        "text": LETTER.text,
        "night": "2026-01-02",
        "worse": True,
        "page": str(page),
    }


def test_a_webhook_that_refuses_is_named_without_its_secret_address(hook):
    spec = NoticesSpec(webhook=WebhookSpec(url_variable="HOOK"))
    url = f"http://127.0.0.1:{hook.server_port}/{SECRET}"
    deliver(spec, HOOK=url)
    hook.answer = 500
    with pytest.raises(InfrastructureError, match=r"webhook \$HOOK: HTTP status 500") as refused:
        deliver(spec, HOOK=url)
    assert SECRET not in str(refused.value)
    with pytest.raises(InfrastructureError, match="not set to an http or https URL"):
        deliver(spec, HOOK="file:///etc/passwd")
    with pytest.raises(InfrastructureError, match=r"cannot connect \(ConnectionRefusedError\)"):
        deliver(spec, HOOK=f"http://127.0.0.1:1/{SECRET}")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_webhook_that_redirects_is_not_delivered_and_nobody_else_gets_the_secret(hook, code):
    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(code)
            self.send_header("Location", f"http://localhost:{hook.server_port}/")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/notify"
        with pytest.raises(
            InfrastructureError, match=f"HTTP status {code}: redirects are not followed"
        ):
            deliver(NoticesSpec(webhook=WebhookSpec(url=url, variable="TOKEN")), TOKEN=SECRET)
        thread.join()
    assert hook.taken == []


@pytest.mark.parametrize(
    "hostile",
    ["=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=0d=0aReply-To=3A_x=0d=0a=0d=0abody=3F=3D?=@b",
     "a=?utf-8?q?=0aX-Injected:_1?=@b", "a\udcff@b", "a\r\nX-Injected: 1@b", "gr\xf6\xdfe@b",
     "a" * 5000],
)  # fmt: skip
def test_no_header_of_ours_comes_from_a_mail(smtp, hostile):
    mailbox, port = smtp()
    notice = replace(
        LETTER, message_id=hostile, title=f"{hostile} \udcff", text="\udcff.patch", key=hostile
    )
    send = channels(NoticesSpec(email=email_spec(port)), {})["email"]
    send(notice, None)
    ((_, mail),) = mailbox.mails
    assert "In-Reply-To" not in mail
    assert "Reply-To" not in mail
    assert "X-Injected" not in mail
    assert "\N{REPLACEMENT CHARACTER}.patch" in mail.get_payload(decode=True).decode()


def test_a_webhook_gets_no_character_that_utf_8_cannot_hold(hook):
    url = f"http://127.0.0.1:{hook.server_port}/notify"
    send = channels(NoticesSpec(webhook=WebhookSpec(url=url)), {})["webhook"]
    send(replace(LETTER, key="\udcff|a", title="\udcff", text="\udcff.patch"), None)
    ((_, body),) = hook.taken
    json.dumps(body, ensure_ascii=False).encode()
