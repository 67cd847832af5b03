"""The wire between client and head: requests, uploads, the event stream, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from farm.errors import (
    AuthError,
    ConfigError,
    DeviceError,
    FarmError,
    ForbiddenError,
    InfrastructureError,
    InternalError,
    NotFoundError,
    RecipeError,
    UserError,
    error_classes,
)
from farm.eventstream import EventStreamDecoder
from farm.types import Blob, Event, Problem

T = TypeVar("T")

API_PREFIX = "/api/v1"
CHUNK_BYTES = 1 << 20
READ_ATTEMPTS = 3
PAGE = 200  # of a long list; the most that the head gives at once
UPLOAD_ATTEMPTS = 6  # with doubling pauses: 15 s, enough for a head to restart
FIRST_PAUSE_SECONDS = 0.5
# The head sends a comment every 15 s; four of them missing means that the connection is dead.
STREAM_SILENCE_SECONDS = 60.0

_LOST = (httpx.ReadError, httpx.WriteError, httpx.CloseError, httpx.RemoteProtocolError)
_BY_CODE = {kind.code: kind for kind in error_classes()}
_BY_FAULT: dict[str, type[FarmError]] = {
    "user": UserError,
    "recipe": RecipeError,
    "device": DeviceError,
    "infrastructure": InfrastructureError,
    "bug": InternalError,
}


class Connection:
    """Typed requests to the head at ``url``. Every failure is a ``FarmError``."""

    def __init__(
        self, url: str, token: str | None, timeout_seconds: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self.token = token
        _check_url(self.url)
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise AuthError(
                "The token holds characters that no token has.",
                remedy="Copy it again, without quotes, spaces or line ends, into FARM_TOKEN or farm.toml.",
            )
        self._http = httpx.AsyncClient(
            base_url=self.url + API_PREFIX,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout_seconds,
            transport=transport,
            # A proxy named in the environment is not asked for this very machine.
            trust_env=not is_loopback(self.url),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    def check_token(self) -> None:
        """Raises AuthError where there is none; what takes long asks this first."""
        if self.token is None:
            raise AuthError(
                f"No token for the farm at {self.url}.",
                remedy="Set FARM_TOKEN, or token in farm.toml. `farm up` prints one when it starts first; "
                "`farm token create NAME` on the head's machine makes another.",
            )

    async def get(self, path: str, kind: type[T], *, needs_token: bool = True, **query: Any) -> T:
        """GET ``path`` as a value of type ``kind``."""
        if needs_token:
            self.check_token()
        given = {key: value for key, value in query.items() if value is not None}
        response = await self._send(
            lambda: self._http.build_request("GET", path, params=given), attempts=READ_ATTEMPTS, retry_on=_LOST
        )
        return self._parse(response, kind)

    async def text(self, path: str) -> str:
        """GET ``path`` as it is, without parsing it."""
        self.check_token()
        response = await self._send(
            lambda: self._http.build_request("GET", path), attempts=READ_ATTEMPTS, retry_on=_LOST
        )
        return response.text

    async def pages(self, path: str, kind: type[T], *, key: Callable[[T], str | int], **query: Any) -> list[T]:
        """All of a list that the head gives in pages; ``key`` of the last one on a page is where the next begins."""
        found: list[T] = []
        while True:
            after = key(found[-1]) if found else None
            page = await self.get(path, list[kind], limit=PAGE, after=after, **query)  # type: ignore[valid-type]
            found += page
            if len(page) < PAGE:
                return found

    async def post(self, path: str, kind: type[T], body: BaseModel | dict[str, Any] | None = None) -> T:
        """POST ``body`` to ``path``; the answer as a value of type ``kind``. Sent once, whatever happens."""
        return await self._send_body("POST", path, kind, body)

    async def put(self, path: str, kind: type[T], body: BaseModel) -> T:
        """PUT ``body`` to ``path``; the answer as a value of type ``kind``. Sent once, whatever happens."""
        return await self._send_body("PUT", path, kind, body)

    async def _send_body(self, method: str, path: str, kind: type[T], body: BaseModel | dict[str, Any] | None) -> T:
        self.check_token()
        content = TypeAdapter[Any](type(body)).dump_json(body) if body is not None else b""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        response = await self._send(
            lambda: self._http.build_request(method, path, content=content, headers=headers), attempts=1, retry_on=()
        )
        return self._parse(response, kind)

    async def delete(self, path: str) -> None:
        """DELETE ``path``. Sent once, whatever happens."""
        self.check_token()
        await self._send(lambda: self._http.build_request("DELETE", path), attempts=1, retry_on=())

    async def upload(self, blob: Blob, path: Path) -> bool:
        """Send the file unless the farm has it; False if it did. A lost connection is tried again: a blob is
        named by its hash, so sending it twice is the same as once."""
        self.check_token()
        head = await self._send(
            lambda: self._http.build_request("HEAD", f"/blobs/{blob.sha256}"),
            attempts=READ_ATTEMPTS,
            retry_on=_LOST,
            accept=(HTTPStatus.NOT_FOUND,),
        )
        if head.status_code != HTTPStatus.NOT_FOUND:
            return False

        def request() -> httpx.Request:
            return self._http.build_request(
                "PUT",
                f"/blobs/{blob.sha256}",
                params={"name": blob.name},
                content=_chunks(path),
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)},
            )

        await self._send(request, attempts=UPLOAD_ATTEMPTS, retry_on=(httpx.TransportError,))
        return True

    @asynccontextmanager
    async def events(self, run_id: int, after: int) -> AsyncIterator[AsyncIterator[Event]]:
        """The events of a run with ``seq`` above ``after``; ends when the head ends it or the connection is lost."""
        self.check_token()
        timeout = httpx.Timeout(self._timeout_seconds, read=STREAM_SILENCE_SECONDS)
        request = self._http.build_request("GET", f"/runs/{run_id}/events", params={"after": after}, timeout=timeout)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.is_error:
                    await response.aread()
                    raise problem_error(response)
                yield self._decode(response)
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    async def _decode(self, response: httpx.Response) -> AsyncIterator[Event]:
        decoder = EventStreamDecoder()
        async for chunk in response.aiter_bytes():
            for data in decoder.feed(chunk):
                yield self._validate(TypeAdapter(Event), data)

    async def _send(
        self,
        request: Callable[[], httpx.Request],
        *,
        attempts: int,
        retry_on: tuple[type[httpx.TransportError], ...],
        accept: tuple[int, ...] = (),
    ) -> httpx.Response:
        pause_seconds = FIRST_PAUSE_SECONDS
        while True:
            attempts -= 1
            try:
                response = await self._http.send(request())
            except httpx.TransportError as error:
                if not attempts or not isinstance(error, retry_on):
                    raise self._unreachable(error) from error
            else:
                if response.is_success or response.status_code in accept:
                    return response
                raise problem_error(response)
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    def _parse(self, response: httpx.Response, kind: type[T]) -> T:
        return self._validate(TypeAdapter(kind), response.content)

    def _validate(self, adapter: TypeAdapter[T], data: str | bytes) -> T:
        try:
            return adapter.validate_json(data)
        except ValidationError as error:
            raise InfrastructureError(
                f"The answer of {self.url} is not what this client expects: {error.errors()[0]['msg']}.",
                remedy="Check that the URL is that of a farm, and install the same torchfarm as the farm runs.",
            ) from error

    def _unreachable(self, error: httpx.TransportError) -> InfrastructureError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return InfrastructureError(
                f"No farm answers at {self.url}.",
                remedy="Start one with `farm up`, or set FARM_URL (or url in farm.toml) to where it runs.",
            )
        if error.request.method == "POST":
            return InfrastructureError(
                f"The connection to {self.url} was lost before the farm answered.",
                remedy="What was sent may have arrived: look (`farm runs list`) before you send it again.",
            )
        if isinstance(error, httpx.TimeoutException):
            return InfrastructureError(
                f"The farm at {self.url} did not answer in time.",
                remedy="Look at its log; if it is only slow, set FARM_TIMEOUT_SECONDS higher.",
            )
        return InfrastructureError(
            f"The connection to {self.url} was lost: {error or type(error).__name__}.",
            remedy="Check that the farm runs (`farm doctor`), then try again.",
        )


def problem_error(response: httpx.Response) -> FarmError:
    """The error that the head raised, rebuilt from its problem document."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _error_without_problem(response)
    kind = _BY_CODE.get(problem.code) or _BY_FAULT[problem.fault]
    return kind(problem.detail, remedy=problem.remedy, details=problem.details)


def _error_without_problem(response: httpx.Response) -> FarmError:
    """For the answers to HEAD, and for what is no farm."""
    status, said = response.status_code, f"{response.url} answered {response.status_code} {response.reason_phrase}"
    if status == HTTPStatus.UNAUTHORIZED:
        return AuthError(f"{said}: the token is not known there.", remedy="Check FARM_TOKEN, or make a new token.")
    if status == HTTPStatus.FORBIDDEN:
        return ForbiddenError(f"{said}: the token's role does not allow this.", remedy="Use a token of role user.")
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(
            f"{said}: there is no such thing in its API.",
            remedy="Check that the URL is that of a farm, and install the same torchfarm as the farm runs.",
        )
    return InfrastructureError(f"{said}.", remedy="Check the URL and any proxy on the way, then try again.")


def is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{url!r} is not the URL of a farm.", remedy="Write it like http://127.0.0.1:7070.")


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
    finally:
        file.close()
