"""GitHub: a commit status or a check run on the commit that a notice names, and a comment on its pull requests.

REST API 2022-11-28 (https://docs.github.com/rest). All are found again and updated: of a sweep, a commit has one status
or check, and a pull request one comment, with a section for each thing that notices are about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from farm.errors import ChannelRefused, ChannelUnavailable
from farm.notifications.http import exchange, expect_success
from farm.notifications.secrets import secret
from farm.notifications.sections import marker, merged
from farm.types import Notice
from farm.types.channels import GitHubChannel

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_STATUS_CHARACTERS = 140
_PAGES = 30  # of 100 comments
_NOT_OURS = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


class GitHub:
    def __init__(self, name: str, setting: GitHubChannel) -> None:
        self._name, self._setting = name, setting
        self._repository = f"{setting.api_url.rstrip('/')}/repos/{setting.repository}"

    def send(self, notice: Notice) -> None:
        """A test only asks whether the repository is there: it has no commit to be shown on."""
        if notice.kind == "test":
            self._json("GET", "")
            return
        commit = str(notice.data.get("commit") or "")
        if not _COMMIT.fullmatch(commit):
            raise ChannelRefused(
                f"Channel {self._name!r}: the notice names no commit, so GitHub has no place for it.",
                remedy="Only sweeps whose model comes from a Git repository can be shown there: add another channel.",
            )
        if self._setting.report == "status":
            self._set_status(notice, commit)
        elif self._setting.report == "check":
            self._set_check(notice, commit)
        if self._setting.comment:
            for pull in self._json("GET", f"/commits/{commit}/pulls"):
                self._comment(notice, int(pull["number"]))

    def _set_status(self, notice: Notice, commit: str) -> None:
        # The newest of a context counts: there is nothing to look for first.
        subject = notice.subject
        cut = subject if len(subject) <= _STATUS_CHARACTERS else f"{subject[: _STATUS_CHARACTERS - 1]}…"
        state = "failure" if notice.kind == "regression" else "error"
        status = {"state": state, "context": _context(notice), "description": cut, **_link(notice, "target_url")}
        self._json("POST", f"/statuses/{commit}", status)

    def _set_check(self, notice: Notice, commit: str) -> None:
        context = _context(notice)
        query = httpx.QueryParams(check_name=context, filter="latest")
        found = self._json("GET", f"/commits/{commit}/check-runs?{query}")["check_runs"]
        before = str((found[0].get("output") or {}).get("summary") or "") if found else ""
        check: dict[str, Any] = {
            "name": context,
            "status": "completed",
            "conclusion": "failure",
            "output": {"title": notice.subject, "summary": merged(before, context, _about(notice), _section(notice))},
            **_link(notice, "details_url"),
        }
        if found:
            self._json("PATCH", f"/check-runs/{int(found[0]['id'])}", check)
        else:
            self._json("POST", "/check-runs", {"head_sha": commit, **check})

    def _comment(self, notice: Notice, pull: int) -> None:
        topic = _context(notice)
        ours = [each for each in self._comments(pull) if str(each.get("body") or "").startswith(marker(topic))]
        for comment in reversed(ours):
            body = {"body": merged(str(comment["body"]), topic, _about(notice), _section(notice))}
            answer = self._ask("PATCH", f"{self._repository}/issues/comments/{int(comment['id'])}", body)
            if answer.status_code in _NOT_OURS and "Retry-After" not in answer.headers:
                continue  # somebody else wrote the marker, or it was deleted meanwhile
            expect_success(self._name, answer)
            return
        self._json("POST", f"/issues/{pull}/comments", {"body": merged("", topic, _about(notice), _section(notice))})

    def _comments(self, pull: int) -> Iterator[dict[str, Any]]:
        url = f"{self._repository}/issues/{pull}/comments?per_page=100"
        for _ in range(_PAGES):
            answer = self._ask("GET", url)
            expect_success(self._name, answer)
            yield from self._content(answer)
            url = answer.links.get("next", {}).get("url", "")
            if urlsplit(url)[:2] != urlsplit(self._repository)[:2]:  # the token stays with its server
                return

    def _json(self, method: str, path: str, content: dict[str, Any] | None = None) -> Any:
        answer = self._ask(method, f"{self._repository}{path}", content)
        expect_success(self._name, answer, f"{method} {path.partition('?')[0] or 'of the repository'}")
        return self._content(answer)

    def _content(self, answer: httpx.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise ChannelUnavailable(
                f"Channel {self._name!r} answered something that is not GitHub's.", remedy="Check its api_url."
            ) from None

    def _ask(self, method: str, url: str, content: dict[str, Any] | None = None) -> httpx.Response:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {secret(self._name, self._setting, 'token')}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        body = None if content is None else json.dumps(content).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        return exchange(
            self._name, method, url, content=body, headers=headers, timeout_seconds=self._setting.timeout_seconds
        )


def _context(notice: Notice) -> str:
    return f"torchfarm/{notice.data.get('sweep') or notice.kind}"


def _about(notice: Notice) -> str:
    return str(notice.data.get("about") or notice.cause)


def _section(notice: Notice) -> str:
    return f"### {notice.subject}\n\n{notice.text}"


def _link(notice: Notice, key: str) -> dict[str, str]:
    page = notice.data.get("page")
    return {key: page} if isinstance(page, str) else {}
