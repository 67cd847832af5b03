"""Signed webhooks, as https://www.standardwebhooks.com defines them: JSON, HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time

from farm.errors import ConfigError
from farm.notifications.http import exchange, expect_success
from farm.notifications.secrets import secret
from farm.types import Notice
from farm.types.channels import WebhookChannel

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)  # what the standard allows


class Webhook:
    def __init__(self, name: str, setting: WebhookChannel) -> None:
        self._name, self._setting = name, setting

    def send(self, notice: Notice) -> None:
        url = self._setting.url or secret(self._name, self._setting, "url")
        keys = [_key(self._name, line) for line in secret(self._name, self._setting, "secret").split()]
        body = payload(notice)
        id, at_seconds = message_id(notice), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(at_seconds),
            "webhook-signature": " ".join(signature(key, id, at_seconds, body) for key in keys),
        }
        answer = exchange(
            self._name, "POST", url, content=body, headers=headers, timeout_seconds=self._setting.timeout_seconds
        )
        expect_success(self._name, answer)


def payload(notice: Notice) -> bytes:
    """The same each time that the notice is sent."""
    data = {"subject": notice.subject, "text": notice.text, **notice.data}
    content = {"type": notice.kind, "timestamp": notice.queued_at.isoformat(), "data": data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def message_id(notice: Notice) -> str:
    """By which a receiver knows that it has the message already."""
    told = f"{notice.channel}\n{notice.cause}\n{notice.queued_at.isoformat()}"
    return f"msg_{hashlib.sha256(told.encode()).hexdigest()[:32]}"


def signature(key: bytes, id: str, at_seconds: int, body: bytes) -> str:
    signed = hmac.new(key, f"{id}.{at_seconds}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def _key(channel: str, line: str) -> bytes:
    try:
        key = base64.b64decode(line.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in _KEY_BYTES:
        raise ConfigError(
            f"The secret of channel {channel!r} is not {_PREFIX} and then 24 to 64 bytes in base64.",
            remedy='Make one: echo "whsec_$(openssl rand -base64 32)".',
        )
    return key
