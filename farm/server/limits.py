"""What a request may send, looked at before anything is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.errors import FarmError, TooLargeError, UserError
from farm.server import problems

MAX_JSON_BYTES = 1 << 20
IDLE_SECONDS = 60.0


class JsonBodies:
    """Refuses POST bodies that are no JSON or above ``MAX_JSON_BYTES``, also if they do not say how long they are.

    All POST bodies are JSON, whatever their Content-Type says. They are parsed strictly here, because Python's own
    parser lets through what can be neither stored nor sent back (lone surrogates). Uploads are PUT.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _takes_json(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await _body(Headers(scope=scope), receive)
            _check_json(body)
        except FarmError as error:
            await problems.response(error, headers={"Connection": "close"})(scope, receive, send)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        MutableHeaders(scope=scope)["content-type"] = "application/json"

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)


def _takes_json(scope: Scope) -> bool:
    """Every POST, and every PUT but that of a file."""
    return scope["method"] == "POST" or (scope["method"] == "PUT" and "/blobs/" not in scope["path"])


async def _body(headers: Headers, receive: Receive) -> bytes:
    """Empty if the client went away: then nobody reads the answer."""
    announced = headers.get("content-length", "0")
    body = bytearray()
    if announced.isdecimal() and int(announced[:20]) > MAX_JSON_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return b""
                body += message.get("body", b"")
                if len(body) > MAX_JSON_BYTES:
                    raise _too_large()
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _stalled() from None


async def while_it_flows(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """An upload's chunks. Raises UserError when none comes for ``IDLE_SECONDS``."""
    iterator = aiter(chunks)
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(iterator)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise _stalled() from None
        yield chunk


def _check_json(body: bytes) -> None:
    if body:
        try:
            from_json(body)
        except ValueError as error:
            raise UserError(
                f"The request's body is no JSON: {error}.", remedy="Send JSON, encoded as UTF-8."
            ) from error


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"The request is larger than the {MAX_JSON_BYTES:,} bytes that are allowed for JSON.",
        remedy="Send less at once; files are uploaded as blobs.",
    )


def _stalled() -> UserError:
    return UserError(f"The request stalled for {IDLE_SECONDS:g} s.", remedy="Check the network, then send it again.")
