"""Prometheus remote write 1.0 and instant queries: what is sent and what the answers mean.

The protocol is that of Prometheus, Mimir, VictoriaMetrics and Thanos receive
(https://prometheus.io/docs/specs/prw/remote_write_spec/). Its message has four types with two fields each, so it is
written by hand: WriteRequest{1: TimeSeries*}, TimeSeries{1: Label*, 2: Sample*}, Label{1: name, 2: value},
Sample{1: double value, 2: int64 milliseconds}.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

import cramjam
import httpx

from farm.config import Settings
from farm.errors import ConfigError, InfrastructureError
from farm.types import Publication

TIMEOUT_SECONDS = 30.0
_QUERY_TIMEOUT_SECONDS = 120.0
_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "torchfarm",
}
# The samples themselves are refused: they would be again. What else fails may work later.
_FINAL = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,  # Thanos: out of order
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
# Prometheus up to 2.4x answers 500 for these, and takes nothing of the request.
_FINAL_WORDS = ("too old sample", "out of order sample", "out of bounds", "duplicate sample for timestamp")
_SHOWN_CHARACTERS = 300


class Refused(Exception):
    """The receiver does not take these samples, now or later."""


def encode(publications: Iterable[Publication]) -> bytes:
    """A WriteRequest, not compressed. Labels are sorted by name and those without a value left out, as asked for.

    Names of labels begin with a small letter, as all of the catalogue's do: ``__name__`` sorts before them.
    """
    request = bytearray()
    for publication in publications:
        at = b"\x10" + _varint(round(publication.at.timestamp() * 1000))
        shared = {name: _label(name, value) for name, value in publication.labels.items() if value}
        in_order = b"".join(shared[name] for name in sorted(shared))
        for point in publication.points:
            own = {name: _label(name, value) if value else b"" for name, value in point.labels.items()}
            labels = in_order
            if own:
                every = shared | own
                labels = b"".join(every[name] for name in sorted(every))
            sample = _field(2, b"\x09" + struct.pack("<d", point.value) + at)
            request += _field(1, _label("__name__", point.name) + labels + sample)
    return bytes(request)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


@lru_cache(20_000)  # the labels of a large fleet
def _label(name: str, value: str) -> bytes:
    return _field(1, _field(1, name.encode()) + _field(2, value.encode("utf-8", "replace")))


class Endpoint:
    """Where results are pushed to, and asked for. Use it in ``with``."""

    def __init__(
        self,
        write_url: str,
        query_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        token_file: Path | None = None,
    ) -> None:
        self._write_url, self._query_url, self._token_file = write_url, query_url, token_file
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, headers=dict(headers or {}))

    @classmethod
    def of(cls, settings: Settings) -> Endpoint:
        """Raises ConfigError where there is none."""
        if settings.remote_write_url is None:
            raise ConfigError(
                "This farm pushes nothing to a Prometheus.",
                remedy="Set remote_write_url, or start the head with `farm up --with-prometheus`.",
            )
        return cls(
            settings.remote_write_url,
            settings.prometheus_url,
            settings.remote_write_headers,
            settings.remote_write_token_file,
        )

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def can_query(self) -> bool:
        return self._query_url is not None

    def push(self, publications: Iterable[Publication]) -> None:
        """Raises Refused, and InfrastructureError where it may work later."""
        body = bytes(cramjam.snappy.compress_raw(encode(publications)))
        answer = self._send("POST", self._write_url, content=body, headers=_HEADERS)
        said = answer.text.strip()[:_SHOWN_CHARACTERS]
        if answer.is_success:
            return
        if answer.status_code in _FINAL or (answer.is_server_error and any(word in said for word in _FINAL_WORDS)):
            raise Refused(f"{answer.status_code}: {said or answer.reason_phrase}")
        raise InfrastructureError(
            f"{self._write_url} answered {answer.status_code} {answer.reason_phrase}: {said}",
            remedy="Check remote_write_url, its headers and token, and the receiver's log. The farm keeps trying.",
        )

    def sum_at(self, query: str, at_seconds: float) -> float:
        """The one value of an aggregating PromQL query at a Unix time; 0 where it finds nothing.

        Raises InfrastructureError, and ConfigError without a ``prometheus_url``."""
        if self._query_url is None:
            raise ConfigError(
                "It is not known where Prometheus answers queries.",
                remedy="Set prometheus_url, e.g. http://prometheus:9090.",
            )
        url = f"{self._query_url.rstrip('/')}/api/v1/query"
        answer = self._send("POST", url, data={"query": query, "time": f"{at_seconds:.3f}"}, headers={})
        try:
            found = answer.raise_for_status().json()["data"]["result"]
            return float(found[0]["value"][1]) if found else 0.0
        except (httpx.HTTPStatusError, ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(
                f"{url} gave no answer to a query: {answer.status_code} {answer.text.strip()[:_SHOWN_CHARACTERS]}",
                remedy="Check prometheus_url, its headers and token.",
            ) from error

    def _send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        data: dict[str, str] | None = None,
    ) -> httpx.Response:
        timeout = TIMEOUT_SECONDS if data is None else _QUERY_TIMEOUT_SECONDS
        try:
            return self._http.request(
                method, url, content=content, data=data, headers={**headers, **self._authorization()}, timeout=timeout
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise InfrastructureError(
                f"{url} does not answer: {error or type(error).__name__}.",
                remedy="Is Prometheus up, and the URL right? The farm keeps trying.",
            ) from error

    def _authorization(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise InfrastructureError(
                f"remote_write_token_file {self._token_file} cannot be read: {error.strerror}.",
                remedy="Correct it, or make the file readable for the user of the head.",
            ) from error
