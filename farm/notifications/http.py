"""One HTTP request to a channel's receiver, and what its answer means for the notice. URLs are never written down."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from farm.errors import ChannelRefused, ChannelUnavailable, ConfigError

_LONGEST_ANSWER_BYTES = 4 * 2**20
_WHOLE_SECONDS = 60.0  # of a whole exchange, however slowly it goes on
_SHOWN_CHARACTERS = 200
_PASSING = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


class _Hosts(logging.Filter):
    """httpx logs each request with its URL, which may be the secret: it logs the host instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(each.host if isinstance(each, httpx.URL) else each for each in record.args)
        return True


logging.getLogger("httpx").addFilter(_Hosts())


def exchange(
    channel: str,
    method: str,
    url: str,
    *,
    timeout_seconds: float,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """The answer, read whole, whatever its status. Redirections are not followed.

    Raises ChannelUnavailable where there is none, ConfigError where ``url`` is none.
    """
    sent = {"User-Agent": "torchfarm", **(headers or {})}
    until_seconds = time.monotonic() + _WHOLE_SECONDS
    try:
        with (
            httpx.Client(timeout=timeout_seconds) as client,
            client.stream(method, url, content=content, headers=sent) as answer,
        ):
            body = bytearray()
            for part in answer.iter_bytes():
                body += part
                if len(body) > _LONGEST_ANSWER_BYTES or time.monotonic() > until_seconds:
                    raise ChannelUnavailable(
                        f"Channel {channel!r}: the answer does not end.", remedy="Look at the receiver."
                    )
    except httpx.TransportError as error:
        raise ChannelUnavailable(
            f"Channel {channel!r} does not answer: {type(error).__name__}: {error}.".replace("..", "."),
            remedy="Check its URL and whether this machine reaches it. The farm keeps trying.",
        ) from None
    except (httpx.InvalidURL, httpx.DecodingError, ValueError):
        # Neither says more without the URL or a header, which may be the secret.
        raise ConfigError(
            f"Channel {channel!r} cannot be spoken to: its URL or token has characters that it cannot have.",
            remedy="Correct what its *_file or *_env holds.",
        ) from None
    return httpx.Response(
        answer.status_code, headers=_plain_headers(answer), content=bytes(body), request=answer.request
    )


def expect_success(channel: str, answer: httpx.Response, what: str = "the message") -> None:
    """Raises ChannelUnavailable where it may work later, with the receiver's Retry-After, else ChannelRefused."""
    if answer.is_success:
        return
    status = answer.status_code
    said = f"{status} {answer.reason_phrase}: {answer.text.strip()[:_SHOWN_CHARACTERS]}".rstrip(": ")
    wait_seconds = retry_after_seconds(answer.headers.get("Retry-After", ""), datetime.now(UTC))
    # GitHub answers 403 where it asks to wait.
    limited = status == HTTPStatus.FORBIDDEN and (
        wait_seconds is not None or answer.headers.get("X-RateLimit-Remaining") == "0"
    )
    if status in _PASSING or answer.is_server_error or limited:
        if wait_seconds is None and limited:
            wait_seconds = _until(answer.headers.get("X-RateLimit-Reset", ""))
        details: dict[str, Any] = {} if wait_seconds is None else {"retry_after_seconds": wait_seconds}
        raise ChannelUnavailable(
            f"Channel {channel!r} does not take {what} now: {said}.",
            remedy="The farm keeps trying.",
            details=details,
        )
    raise ChannelRefused(
        f"Channel {channel!r} refused {what}: {said}.",
        remedy="Check its URL, token and rights (docs/notifications.md), then `farm notifications retry`.",
    )


def retry_after_seconds(header: str, now: datetime) -> float | None:
    """Seconds or a date, as in RFC 9110, 10.2.3; None where it is neither."""
    header = header.strip()
    if header.isascii() and header.isdigit():
        return float(header[:9])
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def _until(unix_time: str) -> float | None:
    return max(0.0, int(unix_time) - time.time()) if unix_time.isdigit() else None


def _plain_headers(answer: httpx.Response) -> list[tuple[str, str]]:
    # The content was decoded already.
    return [(name, value) for name, value in answer.headers.multi_items() if name.lower() != "content-encoding"]
