"""Whatever is sent, the answer is documented and says what to do; nothing internal leaks."""

from __future__ import annotations

import json
import re
import sqlite3
import string
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.config import Settings
from farm.recipes import presets
from farm.server.app import API_PREFIX, create_app
from farm.server.limits import MAX_JSON_BYTES
from farm.types import Problem, Role
from tests.integration.server.conftest import LiveFarm, problem
from tests.values import run_spec


@pytest.fixture(scope="module")
def openapi(standing_farm: LiveFarm) -> dict[str, Any]:
    with standing_farm.client() as http:
        return http.get("/openapi.json").json()


def operations(openapi: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path.removeprefix(API_PREFIX), operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]


class TestOpenApi:
    def test_every_route_is_in_it(self, openapi: dict[str, Any]) -> None:
        assert {(method, path) for method, path, _ in operations(openapi)} == {
            ("GET", "/health"),
            ("GET", "/whoami"),
            ("PUT", "/blobs/{sha256}"),
            ("HEAD", "/blobs/{sha256}"),
            ("GET", "/blobs/{sha256}"),
            ("POST", "/models"),
            ("GET", "/models"),
            ("GET", "/models/{ref}"),
            ("POST", "/models/fused"),
            ("POST", "/runs"),
            ("POST", "/runs/known"),
            ("GET", "/runs"),
            ("GET", "/runs/{run_id}"),
            ("DELETE", "/runs/{run_id}"),
            ("POST", "/runs/{run_id}/cancel"),
            ("GET", "/runs/{run_id}/outcomes"),
            ("GET", "/runs/{run_id}/events"),
            ("GET", "/runs/{run_id}/waits"),
            ("GET", "/jobs/{job_id}/samples"),
            ("GET", "/jobs/{job_id}/wait"),
            ("GET", "/jobs/{job_id}/attempts"),
            ("GET", "/builds"),
            ("GET", "/builds/{key}"),
            ("GET", "/builds/{key}/log"),
            ("GET", "/devices"),
            ("GET", "/devices/{device_id}"),
            ("GET", "/devices/{device_id}/details"),
            ("POST", "/devices/{device_id}/orders"),
            ("POST", "/devices/{device_id}/reservation"),
            ("DELETE", "/devices/{device_id}/reservation"),
            ("GET", "/reservations"),
            ("GET", "/sweeps"),
            ("POST", "/sweeps/plan"),
            ("GET", "/sweeps/{name}"),
            ("PUT", "/sweeps/{name}"),
            ("DELETE", "/sweeps/{name}"),
            ("POST", "/sweeps/{name}/run"),
            ("POST", "/sweeps/{name}/pause"),
            ("POST", "/sweeps/{name}/resume"),
            ("GET", "/sweeps/{name}/nights"),
            ("GET", "/regressions"),
            ("GET", "/regressions/{id}"),
            ("GET", "/regressions/{id}/page"),
            ("POST", "/regressions/{id}/close"),
            ("POST", "/regressions/{id}/search"),
            ("GET", "/history"),
            ("GET", "/history/missing"),
            ("GET", "/recipes"),
            ("GET", "/cluster/join"),
        }

    def test_every_error_is_a_problem_document(self, openapi: dict[str, Any]) -> None:
        for method, path, operation in operations(openapi):
            errors = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
            assert {422, 500, 503} <= set(errors), (method, path)
            assert {401, 403} <= set(errors) or path == "/health", (method, path)
            for answer in errors.values():
                assert answer["content"] == {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                }
                assert "`code`: " in answer["description"]
        assert set(openapi["components"]["schemas"]["Problem"]["properties"]) == set(Problem.model_fields)

    def test_tokens_and_uploads_are_described(self, openapi: dict[str, Any]) -> None:
        assert openapi["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        for _, path, operation in operations(openapi):
            assert ("security" in operation) == (path != "/health")
        upload = openapi["paths"][f"{API_PREFIX}/blobs/{{sha256}}"]["put"]
        assert "application/octet-stream" in upload["requestBody"]["content"]


@pytest.fixture(scope="module")
def documented(openapi: dict[str, Any]) -> dict[tuple[str, str], set[int]]:
    """Statuses of every route but the endless one."""
    return {
        (method, path): set(map(int, operation["responses"]))
        for method, path, operation in operations(openapi)
        if not path.endswith("/events")
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("DELETE", "/runs", 405), ("GET", "/runs/", 404), ("PATCH", "/models/net", 405)],
)
def test_routes_that_do_not_exist(standing_farm: LiveFarm, method: str, path: str, status: int) -> None:
    with standing_farm.client() as http:
        response = http.request(method, path)
    problem(response, status, "not-found" if status == 404 else "bad-request")


class TestBodies:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "body"),
            (b"{", "no JSON: EOF while parsing an object at line 1 column 1"),
            (b"[]", "body"),
            (b"null", "body"),
            (b"\xff\xfe\x00", "no JSON"),
            (b'{"model": "net"}', "body.recipes: Field required"),
            (b'{"model": "net", "recipes": [], "devices": "each"}', "body.recipes"),
            (b'{"model": "net", "recipes": [{"name": "x y"}], "devices": "each"}', "body.recipes.0.name"),
            (b'{"model": "net", "devices": "each", "\\ud800": 1}', "no JSON"),
            (b"[" * 100_000, "recursion limit"),
            (b'{"model": "\\ud800", "recipes": [], "devices": "each"}', "no JSON"),
            (b'{"protocol": {"max_seconds": Infinity}}', "body.protocol.max_seconds"),
            (b'{"protocol": {"max_samples": 10, "min_samples": 20}}', "max_samples=10 is below min_samples=20"),
            (b'{"scenarios": [{"threads": 1e999}]}', "body.scenarios"),
        ],
    )
    def test_what_is_wrong_is_named(self, standing_farm: LiveFarm, content: bytes, says: str) -> None:
        with standing_farm.client() as http:
            assert says in problem(http.post("/runs", content=content), 422, "bad-request").detail

    def test_any_content_type_is_json(self, standing_farm: LiveFarm) -> None:
        spec = run_spec(recipes=(presets.preset("pytorch"),)).model_dump_json()
        with standing_farm.client() as http:
            for kind in ("application/x-www-form-urlencoded", "text/plain", "application/json; charset=utf-8"):
                assert http.post("/runs", content=spec, headers={"Content-Type": kind}).status_code == 201
            assert "no JSON" in problem(http.post("/runs", data={"model": "net"}), 422, "bad-request").detail

    def test_values_are_not_sent_back(self, standing_farm: LiveFarm) -> None:
        with standing_farm.client() as http:
            response = http.post("/runs", json={"model": {"password": "hunter2"}})
        problem(response, 422, "bad-request")
        assert "hunter2" not in response.text

    def test_a_body_over_the_limit_is_refused_whether_announced_or_not(self, standing_farm: LiveFarm) -> None:
        large = b" " * (MAX_JSON_BYTES + 1)
        with standing_farm.client() as http:
            for content in (large, (large[:50_000] for _ in range(30))):
                assert "1,048,576 bytes" in problem(http.post("/models", content=content), 413, "too-large").detail

    def test_a_body_at_the_limit_is_read(self, standing_farm: LiveFarm) -> None:
        spec = run_spec(recipes=(presets.preset("pytorch"),)).model_dump_json().encode()
        with standing_farm.client() as http:
            assert http.post("/runs", content=spec.ljust(MAX_JSON_BYTES)).status_code == 201


class TestFailures:
    def test_a_database_that_does_not_serve_is_503_until_it_does(self, farm: LiveFarm) -> None:
        def alter(statement: str) -> None:
            with sqlite3.connect(farm.settings.state_dir / "farm.db", timeout=10) as connection:
                connection.execute(statement)
            connection.close()

        with farm.client() as http:
            assert http.get("/runs").status_code == 200
            alter("ALTER TABLE tokens RENAME TO gone")
            problem(http.get("/runs"), 503, "infrastructure")
            assert http.get("/health").status_code == 200
            alter("ALTER TABLE gone RENAME TO tokens")
            assert http.get("/runs").status_code == 200

    def test_a_mistake_of_ours_is_logged_and_not_told(self, tmp_path, caplog) -> None:
        app = create_app(Settings(state_dir=tmp_path))

        @app.get("/broken")
        def broken() -> None:
            raise RuntimeError("the password is hunter2")

        with TestClient(app, raise_server_exceptions=False) as http:
            response = http.get("/broken")
        told = problem(response, 500, "internal")
        assert told.fault == "bug"
        assert "hunter2" not in response.text
        assert told.details["error_id"] in told.detail
        (logged,) = [record for record in caplog.records if told.details["error_id"] in record.getMessage()]
        assert logged.exc_info is not None
        assert "hunter2" in str(logged.exc_info[1])


# --- whatever is sent --------------------------------------------------------------------------------

words = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["net", "host-a", "1", "0", "-1", "9" * 30, "0" * 64, "a" * 64, "%00", "..", "NaN", "1e3", "é"]),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)),
    max_leaves=12,
)
spec_fields = {
    "model": st.one_of(st.just("net"), json_values),
    "recipes": st.one_of(st.just([presets.preset("pytorch").model_dump(mode="json")]), json_values),
    "devices": st.one_of(st.just("each"), st.text(string.printable, max_size=30), json_values),
    "scenarios": st.one_of(st.just([{"threads": 1}]), json_values),
    "protocol": st.one_of(st.just({}), json_values),
    "name": json_values,
}
bodies = st.one_of(
    st.binary(max_size=200),
    json_values,
    st.fixed_dictionaries({}, optional=spec_fields),
    st.fixed_dictionaries(spec_fields),
)


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_every_answer_is_a_documented_one(
    standing_farm: LiveFarm, documented: dict[tuple[str, str], set[int]], data: st.DataObject
) -> None:
    method, path = data.draw(st.sampled_from(sorted(documented)))
    filled = re.sub(r"\{\w+\}", lambda _: quote(data.draw(words).replace("/", "").replace(".", "") or "x"), path)
    query = data.draw(
        st.dictionaries(st.sampled_from(["limit", "before", "after", "selector", "name", "other"]), words, max_size=3)
    )
    options: dict[str, Any] = {}
    if method in ("POST", "PUT"):
        body = data.draw(bodies)
        options = {"content": body} if isinstance(body, bytes) else {"content": _json(body)}
    with standing_farm.client(Role.ADMIN) as http:
        response = http.request(method, filled, params=query, **options)
    assert response.status_code in documented[method, path], (filled, response.text)
    assert response.status_code != 500
    if response.status_code >= 400 and method != "HEAD":
        problem(response, response.status_code, response.json()["code"])


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
