"""E-mail through a real SMTP server."""

from __future__ import annotations

import email
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from farm.errors import ChannelRefused, ChannelUnavailable
from farm.notifications.email import Email
from farm.types.channels import EmailChannel
from tests.integration.notifications.notices import notice


class Mailbox:
    """``refused``: what is answered to an address."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.refused: dict[str, str] = {}

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 OK"

    @property
    def letters(self) -> list[EmailMessage]:
        return [email.message_from_bytes(each.content, policy=default) for each in self.envelopes]  # type: ignore[arg-type]

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        known = isinstance(data, LoginPassword) and data.password == b"right-password"
        return AuthResult(success=known, handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of ``localhost``, with its key, signed by itself."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-keyout", str(file), "-out", f"{file}.crt"], check=True, capture_output=True, timeout=60
    )
    file.write_text(file.read_text() + Path(f"{file}.crt").read_text())
    return file


class Server(Controller):
    """On a free port; its own first connection knows neither that nor TLS."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        socket.create_connection((self.hostname, self.port), timeout=5).close()


@contextmanager
def serving(mailbox: Mailbox, certificate: Path | None = None, *, implicit: bool = False) -> Iterator[int]:
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    options: dict[str, Any] = {}
    if tls and not implicit:
        options = {"tls_context": tls, "require_starttls": True, "auth_required": True}
    if implicit:
        options = {"ssl_context": tls, "auth_require_tls": False, "auth_required": True}
    controller = Server(mailbox, hostname="127.0.0.1", port=0, authenticator=mailbox.login, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def channel(port: int, **changes: Any) -> Email:
    fields: dict[str, Any] = {
        "host": "localhost",
        "port": port,
        "security": "none",
        "sender": "farm@example.org",
        "to": ("team@example.org", "lead@example.org"),
        "timeout_seconds": 5,
    }
    return Email("team", EmailChannel(kind="email", **fields | changes))


def test_an_e_mail_has_text_and_html() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as port:
        sending = channel(port)
        sending.send(notice(subject="über\nBcc: someone@example.org"))
        sending.send(notice(subject="über\nBcc: someone@example.org"))
    letter, again = mailbox.letters
    assert mailbox.envelopes[0].rcpt_tos == ["team@example.org", "lead@example.org"]
    assert letter["Subject"] == "über Bcc: someone@example.org"
    assert letter["Bcc"] is None
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"] == again["Message-ID"]
    text, html = letter.get_body(("plain",)), letter.get_body(("html",))
    assert text is not None
    assert html is not None
    assert "latency_p50 of int8: up 10.2 %" in text.get_content()
    assert "<strong>up 10.2 %</strong>" in html.get_content()
    assert "&lt;script&gt; &amp; @channel" in html.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_password_goes_over_tls_to_a_server_that_is_trusted(
    security: str, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = Mailbox()
    password = tmp_path / "password"
    password.write_text("right-password\n")
    with serving(mailbox, certificate, implicit=security == "tls") as port:
        sending = channel(port, security=security, username="farm", password_file=password)
        with pytest.raises(ChannelUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            sending.send(notice())
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        sending.send(notice())
        assert len(mailbox.letters) == 1
        password.write_text("wrong-password\n")  # read anew
        with pytest.raises(ChannelRefused, match="535") as refusal:
            sending.send(notice())
    assert "wrong-password" not in str(refusal.value)


def test_a_server_without_tls_gets_nothing() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as port:
        with pytest.raises(ChannelRefused, match="STARTTLS"):
            channel(port, security="starttls").send(notice())
    assert mailbox.letters == []


def test_addresses_that_are_refused_now_or_for_good() -> None:
    mailbox = Mailbox()
    with serving(mailbox) as port:
        mailbox.refused = {"lead@example.org": "450 4.2.0 greylisted"}
        with pytest.raises(ChannelUnavailable, match=r"lead@example.org: 450.*greylisted"):
            channel(port).send(notice())
        mailbox.refused = {"lead@example.org": "550 5.1.1 no such user"}
        with pytest.raises(ChannelRefused, match="no such user"):
            channel(port).send(notice())
        mailbox.refused["team@example.org"] = "550 5.1.1 no such user"
        with pytest.raises(ChannelRefused, match=r"team@example.org"):
            channel(port).send(notice())
    assert len(mailbox.letters) == 2  # the address that was taken had it both times


def test_no_server_is_no_reason_to_give_up() -> None:
    with pytest.raises(ChannelUnavailable, match="ConnectionRefusedError"):
        channel(9).send(notice())
