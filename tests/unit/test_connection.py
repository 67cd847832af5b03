import asyncio
import socket

import httpx
import pytest

from farm.connection import Connection, is_loopback, problem_error
from farm.errors import (
    AuthError,
    ConfigError,
    DeviceError,
    ForbiddenError,
    InfrastructureError,
    NotFoundError,
    error_classes,
)
from farm.types import Device, Problem


def answer(status: int, content: bytes) -> httpx.Response:
    return httpx.Response(status, content=content, request=httpx.Request("GET", "http://farm.example/api/v1/x"))


def problem(**fields) -> bytes:
    given = {"type": "about:blank", "title": "t", "status": 400, "detail": "It broke.", "remedy": "Mend it."} | fields
    return Problem(**given).model_dump_json().encode()


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_of_the_farm_comes_back_as_its_own_class(kind):
    document = problem(code=kind.code, fault=kind.fault, status=kind.http_status, details={"position": 3})
    error = problem_error(answer(kind.http_status, document))
    assert type(error) is kind
    assert (error.message, error.remedy, error.details) == ("It broke.", "Mend it.", {"position": 3})


def test_an_error_that_this_version_does_not_know_keeps_its_side():
    error = problem_error(answer(500, problem(code="meter-on-fire", fault="device")))
    assert type(error) is DeviceError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (502, InfrastructureError),
        (520, InfrastructureError),
    ],
)
def test_what_is_no_problem_document_is_named_by_its_status(status, kind):
    error = problem_error(answer(status, b"<html>Bad gateway</html>"))
    assert type(error) is kind
    assert str(status) in error.message
    assert error.remedy


@pytest.mark.parametrize("url", ["farm.example", "ftp://farm.example", "http://", "", "http://a:b:c"])
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(ConfigError) as caught:
        Connection(url, "token", 1)
    assert "http://127.0.0.1:7070" in caught.value.remedy


@pytest.mark.parametrize("token", ["with space", "line\n", "naïve"])
def test_a_mangled_token_is_refused_without_showing_it(token):
    with pytest.raises(AuthError) as caught:
        Connection("http://127.0.0.1:1", token, 1)
    assert token not in str(caught.value)


def test_where_nothing_listens_the_error_says_how_to_start_a_farm():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"

        async def ask():
            connection = Connection(url, "token", 5)
            try:
                await connection.get("/devices", list[Device])
            finally:
                await connection.aclose()

        with pytest.raises(InfrastructureError) as caught:
            asyncio.run(ask())
    assert caught.value.message == f"No farm answers at {url}."
    assert "farm up" in caught.value.remedy


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:7070", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("http://127.9.9.9", True),
        ("http://farm.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_only_this_machine_is_asked_without_a_proxy(url, loopback):
    assert is_loopback(url) is loopback
