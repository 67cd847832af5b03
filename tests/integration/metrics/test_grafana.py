"""``farm dashboards`` against what speaks Grafana's protocol."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

pytest.importorskip("grafana_api", reason="needs the grafana extra")

from farm.errors import AuthError, ConfigError, FarmError, ForbiddenError, InfrastructureError, UserError
from farm.metrics.grafana import Grafana, Note, read_token
from farm.types import Role
from tests.integration.metrics.results import add_results, now
from tests.integration.server.conftest import LiveFarm
from tests.integration.server.test_process import free_port

CONTRACT = Path(__file__).parents[4] / "shared" / "grafana" / "grafana_contract.py"
TOKEN = "glsa_test"
SOURCE = "http://prometheus:9090"


@dataclass
class StandIn:
    """As much of Grafana's API as the farm uses, by uid. ``broken``: a status and body in place of every answer."""

    folders: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    dashboards: dict[str, Any] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    writes: int = 0
    broken: tuple[int, str] | None = None

    def answer(  # noqa: PLR0911 - one return a route
        self, method: str, path: str, query: dict[str, list[str]], body: Any
    ) -> tuple[int, Any]:
        self.writes += method != "GET"
        parts = path.strip("/").split("/")
        match method, *parts:
            case "GET", "api", "folders", uid:
                return self._found(self.folders, uid)
            case "POST", "api", "folders":
                self.folders[body["uid"]] = body
            case "GET", "api", "datasources", "uid", uid:
                return self._found(self.sources, uid)
            case "POST", "api", "datasources":
                self.sources[body["uid"]] = body | {"readOnly": False}
            case "PUT", "api", "datasources", "uid", uid:
                self.sources[uid] |= body
            case "GET", "api", "dashboards", "uid", uid:
                return self._found(self.dashboards, uid)
            case "POST", "api", "dashboards", "db":
                if body["folderUid"] not in self.folders:
                    return 400, {"message": "folder not found"}
                kept = body["dashboard"] | {"id": 7, "version": 3}
                self.dashboards[kept["uid"]] = {"dashboard": kept, "meta": {"folderUid": body["folderUid"]}}
            case "GET", "api", "annotations":
                wanted = set(query["tags"])
                return 200, [each for each in self.annotations if wanted <= set(each["tags"])]
            case "POST", "api", "annotations":
                self.annotations.append(body)
            case _:
                return 404, {"message": "Not found"}
        return 200, {"message": "ok"}

    def _found(self, among: dict[str, Any], uid: str) -> tuple[int, Any]:
        return (200, among[uid]) if uid in among else (404, {"message": "not found"})


@pytest.fixture
def stand_in() -> Iterator[tuple[StandIn, str]]:
    state = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, text = 401, json.dumps({"message": "Invalid API key"})
            elif state.broken:
                status, text = state.broken
            else:
                status, found = state.answer(
                    self.command, parts.path, parse_qs(parts.query), json.loads(raw) if raw else None
                )
                text = json.dumps(found)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _handle

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "grafana-token"
    path.write_text(f"{TOKEN}\n")
    return path


def run(live: LiveFarm, url: str, token_file: Path, verb: str, *arguments: str) -> tuple[int, Any, str]:
    command = [sys.executable, "-m", "farm.cli.app", "--url", live.url, "--token", live.tokens[Role.VIEWER]]
    command += ["dashboards", verb, "--grafana-url", url, "--token-file", str(token_file), "--json"]
    command += ["--prometheus-url", SOURCE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def publishes_once(live: LiveFarm, url: str, token_file: Path) -> None:
    add_results(live.store, [now() - timedelta(hours=2), now() - timedelta(hours=1)])
    code, found, _ = run(live, url, token_file, "check")
    assert code == 1
    assert set(found.values()) == {"missing", "missing or changed"}
    code, found, said = run(live, url, token_file, "publish")
    assert code == 0, said
    assert (set(found["published"].values()), len(found["published"]), found["annotated_runs"]) == ({"published"}, 7, 2)
    assert run(live, url, token_file, "check")[0] == 0
    code, found, _ = run(live, url, token_file, "publish")
    assert (set(found["published"].values()), found["annotated_runs"]) == ({"as it was"}, 0)


def test_publishing_twice_changes_nothing_the_second_time(
    farm: LiveFarm, stand_in: tuple[StandIn, str], token_file: Path
) -> None:
    state, url = stand_in
    publishes_once(farm, url, token_file)
    assert state.writes == 1 + 1 + 5 + 2
    state.dashboards["farm-fleet"]["dashboard"]["title"] = "Mine"
    state.sources["torchfarm-prometheus"] |= {"url": "http://elsewhere", "jsonData": {"timeInterval": "60s"}}
    code, found, _ = run(farm, url, token_file, "check")
    assert code == 1
    assert sorted(found.values()) == ["changed", *["current"] * 5, "missing or changed"]
    assert run(farm, url, token_file, "publish", "--runs", "0")[0] == 0
    assert state.dashboards["farm-fleet"]["dashboard"]["title"] == "Torchfarm / Fleet"
    source = state.sources["torchfarm-prometheus"]
    assert (source["url"], source["jsonData"]) == (SOURCE, {"timeInterval": "60s"})


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not beside this checkout")
def test_every_request_keeps_to_grafanas_published_contract(farm: LiveFarm, token_file: Path) -> None:
    pytest.importorskip("jsonschema")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen([sys.executable, str(CONTRACT), str(port)])
    try:
        deadline = time.monotonic() + 20
        while not _answers(url):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        publishes_once(farm, url, token_file)
        log = httpx.get(f"{url}/__log", trust_env=False).json()
    finally:
        process.terminate()
        process.wait(10)
    assert len(log) > 20
    # Dashboards are left to the checker: the schema wants objects in overrides, where Grafana takes any value.
    wrong = [[each for each in entry[3:] if not each.startswith("dashboard:")] for entry in log]
    assert [problems for problems in wrong if problems] == []
    assert {entry[2] for entry in log}.isdisjoint({"NO-ROUTE", "NOT-API", "401"})


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2, trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ((403, '{"message": "no"}'), ForbiddenError),
        ((412, '{"message": "newer"}'), UserError),
        ((502, "<html>"), InfrastructureError),
        ((200, "<html>a portal"), InfrastructureError),
    ],
)
def test_refusals_are_told_by_whose_they_are(
    stand_in: tuple[StandIn, str], broken: tuple[int, str], error: type[FarmError]
) -> None:
    state, url = stand_in
    state.broken = broken
    with pytest.raises(error) as caught:
        Grafana(url, TOKEN).make_folder()
    assert caught.value.remedy
    assert TOKEN not in str(caught.value)


def test_a_wrong_token_and_an_absent_grafana(stand_in: tuple[StandIn, str]) -> None:
    with pytest.raises(AuthError, match="Unauthorized"):
        Grafana(stand_in[1], "glsa_other").folder()
    with pytest.raises(InfrastructureError, match="does not answer"):
        Grafana(f"http://127.0.0.1:{free_port()}", TOKEN).folder()


@pytest.mark.parametrize("url", ["grafana:3000", "ftp://grafana", "http://admin:secret@grafana"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Grafana(url, TOKEN)
    assert "secret" not in str(caught.value)


def test_a_run_is_annotated_once(stand_in: tuple[StandIn, str]) -> None:
    state, url = stand_in
    notes = [Note("run-1", "Run 1", now() - timedelta(hours=1), now()), Note("run-12", "Run 12", now(), now())]
    assert Grafana(url, TOKEN).annotate(notes[:1]) == 1
    assert Grafana(url, TOKEN).annotate(notes) == 1
    assert [each["tags"] for each in state.annotations] == [["torchfarm", "run", f"run-{n}"] for n in (1, 12)]


@pytest.mark.parametrize("content", ["", "two words", "lines\nof it", "ü"])
def test_a_token_file_without_a_token(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(ConfigError, match="holds no token") as caught:
        read_token(path)
    assert content == "" or content not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "absent")
