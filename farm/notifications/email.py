"""Notices by e-mail: SMTP with STARTTLS or TLS, as text and as HTML."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import format_datetime
from html import escape

from farm.errors import ChannelRefused, ChannelUnavailable, FarmError
from farm.notifications.markup import as_html, as_plain
from farm.notifications.secrets import secret
from farm.notifications.webhook import message_id
from farm.types import Notice
from farm.types.channels import EmailChannel

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_SUBJECT_CHARACTERS = 200
_HTML = """\
<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{subject}</title></head>
<body style="margin: 0; padding: 24px; font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif">
<div style="max-width: 640px; margin: 0 auto">
<h1 style="font-size: 19px; line-height: 1.3; margin: 0 0 16px; border-left: 4px solid {colour}; padding-left: 12px">\
{subject}</h1>
{body}
<p style="color: #777; font-size: 12px; border-top: 1px solid #8884; padding-top: 8px; margin-top: 24px">\
Torchfarm, channel {channel}</p>
</div></body></html>
"""
_COLOURS = {"regression": "#c0392b", "night": "#b7791f", "test": "#2b6cb0"}


class Email:
    def __init__(self, name: str, setting: EmailChannel) -> None:
        self._name, self._setting = name, setting

    def send(self, notice: Notice) -> None:
        password = secret(self._name, self._setting, "password") if self._setting.username else None
        letter = compose(notice, self._setting.sender, self._setting.to)
        with _explained(self._name), self._connected() as server:
            if password is not None:
                server.login(self._setting.username or "", password)
            unreached = server.send_message(letter)
        if unreached:
            raise _refusal(self._name, unreached)

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        setting = self._setting
        port = setting.port or _PORTS[setting.security]
        if setting.security == "tls":
            trusted = ssl.create_default_context()
            with smtplib.SMTP_SSL(setting.host, port, timeout=setting.timeout_seconds, context=trusted) as server:
                yield server
            return
        with smtplib.SMTP(setting.host, port, timeout=setting.timeout_seconds) as server:
            if setting.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            yield server


def compose(notice: Notice, sender: str, to: tuple[str, ...]) -> EmailMessage:
    subject = " ".join(notice.subject.split())[:_SUBJECT_CHARACTERS]
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = sender, ", ".join(to), subject
    letter["Date"] = format_datetime(notice.queued_at)
    letter["Message-ID"] = f"<{message_id(notice)}@{sender.rpartition('@')[2]}>"  # if it comes twice, it is one
    letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office answers
    letter.set_content(f"{as_plain(notice.text)}\n")
    letter.add_alternative(html(notice), subtype="html")
    return letter


def html(notice: Notice) -> str:
    return _HTML.format(
        subject=escape(notice.subject),
        colour=_COLOURS[notice.kind],
        body=as_html(notice.text),
        channel=escape(notice.channel),
    )


@contextmanager
def _explained(channel: str) -> Iterator[None]:
    """SMTP's errors as the farm's. The order matters: OSError is the base of smtplib's."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        raise _refusal(channel, error.recipients) from None
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        raise _verdict(channel, error.smtp_code, f"{error.smtp_code} {said}") from None
    except smtplib.SMTPNotSupportedError as error:
        raise ChannelRefused(
            f"The server of channel {channel!r} cannot do what is asked for: {error}",
            remedy="Correct security, username or the addresses, then `farm notifications retry`.",
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise ChannelUnavailable(
            f"The server of channel {channel!r} does not answer as it should: {type(error).__name__}: {error}",
            remedy="Check its host, port and security. The farm keeps trying.",
        ) from None


def _refusal(channel: str, unreached: dict[str, tuple[int, bytes]]) -> FarmError:
    """Some or all addresses were. Where one may be reached later all get it again: better twice than never."""
    said = "; ".join(f"{to}: {code} {why.decode(errors='replace')}" for to, (code, why) in unreached.items())
    return _verdict(channel, min(code for code, _ in unreached.values()), said)


def _verdict(channel: str, code: int, said: str) -> FarmError:
    if 400 <= code < 500:
        return ChannelUnavailable(
            f"The server of channel {channel!r} does not take the e-mail now: {said}", remedy="The farm keeps trying."
        )
    return ChannelRefused(
        f"The server of channel {channel!r} refused the e-mail: {said}",
        remedy="Check its username, password, sender and addresses, then `farm notifications retry`.",
    )
