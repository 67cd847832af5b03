"""Servers on free loopback ports that take what channels send: HTTP, and GitHub's API as far as the farm uses it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]  # names in small letters
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)


class Receiver:
    """``requests``: all that came. ``answers``: what comes next, then ``Answer()``."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        return self.answers.pop(0) if self.answers else Answer()

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, self.rfile.read(length))
                receiver.requests.append(request)
                answer = receiver.answer(request)
                self.send_response(answer.status)
                for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PATCH = handle_any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class FakeGitHub(Receiver):
    """``owner/name`` with the commit ``SHA`` in pull request 7. Refuses what GitHub refuses."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token
        self.statuses: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.foreign: set[int] = set()  # comments that the token may not edit

    def answer(self, request: Request) -> Answer:
        if self.answers:
            return self.answers.pop(0)
        headers = request.headers
        if headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, b'{"message": "Bad credentials"}')
        assert headers["accept"] == "application/vnd.github+json"
        assert headers["x-github-api-version"] == "2022-11-28"
        assert headers["user-agent"]
        url = urlsplit(request.path)
        content = json.loads(request.body) if request.body else None
        return self._route(f"{request.method} {url.path}", parse_qs(url.query), content)

    def _route(self, what: str, query: dict[str, list[str]], content: Any) -> Answer:
        routes: list[tuple[str, Callable[..., Answer]]] = [
            (r"GET /api/v3/repos/owner/name", lambda: _json({"full_name": "owner/name"})),
            (rf"POST /api/v3/repos/owner/name/statuses/{SHA}", lambda: self._status(content)),
            (rf"GET /api/v3/repos/owner/name/commits/{SHA}/pulls", lambda: _json([{"number": 7}])),
            (rf"GET /api/v3/repos/owner/name/commits/{SHA}/check-runs", lambda: self._found_checks(query)),
            (r"POST /api/v3/repos/owner/name/check-runs", lambda: self._check(content)),
            (r"PATCH /api/v3/repos/owner/name/check-runs/(\d+)", lambda id: self._check(content, int(id))),
            (r"GET /api/v3/repos/owner/name/issues/7/comments", lambda: self._page(query)),
            (r"POST /api/v3/repos/owner/name/issues/7/comments", lambda: self._comment(content)),
            (r"PATCH /api/v3/repos/owner/name/issues/comments/(\d+)", lambda id: self._edit(int(id), content)),
        ]
        for pattern, handle in routes:
            if found := re.fullmatch(pattern, what):
                return handle(*found.groups())
        return Answer(404, b'{"message": "Not Found"}')

    def _status(self, status: dict[str, Any]) -> Answer:
        if status["state"] not in ("error", "failure", "pending", "success") or len(status["description"]) > 140:
            return Answer(422, b'{"message": "Validation Failed"}')
        self.statuses.append(status)
        return _json(status, 201)

    def _found_checks(self, query: dict[str, list[str]]) -> Answer:
        (name,) = query["check_name"]
        found = [check for check in self.checks if check["name"] == name]
        return _json({"total_count": len(found), "check_runs": found})

    def _check(self, check: dict[str, Any], id: int | None = None) -> Answer:
        if check["conclusion"] not in ("failure", "neutral", "success") or len(check["output"]["summary"]) > 65_535:
            return Answer(422, b'{"message": "Validation Failed"}')
        if id is None:
            assert check["head_sha"] == SHA
            self.checks.append({"id": len(self.checks) + 1, **check})
        else:
            self.checks[id - 1].update(check)
        return _json({}, 201)

    def _page(self, query: dict[str, list[str]]) -> Answer:
        number = int(query.get("page", ["1"])[0])
        size = int(query["per_page"][0])
        headers = {}
        if len(self.comments) > number * size:
            following = f"{self.url}/api/v3/repos/owner/name/issues/7/comments?per_page={size}&page={number + 1}"
            headers = {"Link": f'<{following}>; rel="next"'}
        return _json(self.comments[(number - 1) * size : number * size], headers=headers)

    def _comment(self, content: dict[str, Any]) -> Answer:
        if len(content["body"]) > 65_536:
            return Answer(422, b'{"message": "Validation Failed"}')
        self.comments.append({"id": len(self.comments) + 1, "body": content["body"]})
        return _json(self.comments[-1], 201)

    def _edit(self, id: int, content: dict[str, Any]) -> Answer:
        if id in self.foreign:
            return Answer(403, b'{"message": "Must have admin rights to Repository."}')
        self.comments[id - 1]["body"] = content["body"]
        return _json(self.comments[id - 1])


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, json.dumps(content).encode(), headers or {})
