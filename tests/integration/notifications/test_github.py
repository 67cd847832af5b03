"""Statuses, checks and comments, against a server that answers as GitHub's API does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from farm.errors import ChannelRefused, ChannelUnavailable
from farm.notifications.github import GitHub
from farm.types.channels import GitHubChannel
from tests.integration.notifications.notices import BAD, notice
from tests.integration.notifications.receiver import SHA, Answer, FakeGitHub


@pytest.fixture
def channel(github: FakeGitHub, tmp_path: Path) -> Any:
    def made(**changes: Any) -> GitHub:
        file = tmp_path / "token"
        file.write_text(f"{changes.pop('token', github.token)}\n")
        fields = {"repository": "owner/name", "api_url": f"{github.url}/api/v3/", "token_file": file}
        return GitHub("team", GitHubChannel(kind="github", **fields | changes))

    return made


def test_a_commit_gets_a_status_and_its_pull_request_a_comment(github: FakeGitHub, channel: Any) -> None:
    assert BAD == SHA
    channel().send(notice())
    (status,) = github.statuses
    assert status == {
        "state": "failure",
        "context": "torchfarm/nightly",
        "description": "latency_p50 up 10.2 %: int8 on pixel-8 (sweep nightly)",
        "target_url": "https://farm.example/r/12",
    }
    (comment,) = github.comments
    assert "### latency_p50 up 10.2 %" in comment["body"]


def test_a_comment_is_updated_and_not_repeated(github: FakeGitHub, channel: Any) -> None:
    github.comments = [{"id": number + 1, "body": f"comment {number}"} for number in range(230)]
    sending = channel()
    sending.send(notice(subject="suspected"))
    sending.send(notice(subject="confirmed"))
    sending.send(notice(subject="another", data=notice().data | {"about": "regression 13"}))
    assert len(github.comments) == 231
    body = github.comments[-1]["body"]
    assert "suspected" not in body
    assert "### confirmed" in body
    assert "### another" in body


def test_a_marker_in_somebody_elses_comment_stops_nothing(github: FakeGitHub, channel: Any) -> None:
    sending = channel()
    sending.send(notice())
    github.comments.append({"id": 2, "body": github.comments[0]["body"]})
    github.foreign = {2}
    sending.send(notice(subject="later"))
    assert "### later" in github.comments[0]["body"]
    github.foreign = {1, 2}
    sending.send(notice(subject="last"))
    assert len(github.comments) == 3
    assert "### last" in github.comments[2]["body"]


def test_an_app_reports_by_one_check_run_per_sweep(github: FakeGitHub, channel: Any) -> None:
    sending = channel(report="check", comment=False)
    sending.send(notice())
    sending.send(notice(subject="another", data=notice().data | {"about": "regression 13"}))
    (check,) = github.checks
    assert (check["name"], check["conclusion"], check["status"]) == ("torchfarm/nightly", "failure", "completed")
    assert "### another" in check["output"]["summary"]
    assert "### latency_p50" in check["output"]["summary"]
    assert not github.comments
    assert not github.statuses


def test_a_wrong_token_is_refused_and_a_limit_is_waited_for(github: FakeGitHub, channel: Any) -> None:
    with pytest.raises(ChannelRefused, match=r"401.*Bad credentials"):
        channel(token="wrong").send(notice())
    github.answers = [Answer(403, b"{}", {"Retry-After": "60"})]
    with pytest.raises(ChannelUnavailable) as waiting:
        channel().send(notice())
    assert waiting.value.details == {"retry_after_seconds": 60.0}
    github.answers = [Answer(403, b"{}", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})]
    with pytest.raises(ChannelUnavailable):
        channel().send(notice())
    github.answers = [Answer(403, b'{"message": "Resource not accessible by integration"}')]
    with pytest.raises(ChannelRefused, match="not accessible"):
        channel().send(notice())


def test_the_token_goes_to_no_other_server(github: FakeGitHub, channel: Any, receiver: Any) -> None:
    sending = channel(report="none")
    pulls = Answer(200, b'[{"number": 7}]')
    page = Answer(200, b"[]", {"Link": f'<{receiver.url}/steal>; rel="next"'})
    github.answers = [pulls, page]
    sending.send(notice())
    assert receiver.requests == []
    assert len(github.comments) == 1


def test_a_notice_without_a_commit_has_no_place_there(github: FakeGitHub, channel: Any) -> None:
    with pytest.raises(ChannelRefused, match="names no commit"):
        channel().send(notice(data={"sweep": "nightly", "commit": "main"}))
    assert github.requests == []


def test_a_test_asks_for_the_repository_only(github: FakeGitHub, channel: Any) -> None:
    channel().send(notice(kind="test", data={}))
    (request,) = github.requests
    assert (request.method, request.path) == ("GET", "/api/v3/repos/owner/name")
    with pytest.raises(ChannelRefused, match="404"):
        channel(repository="owner/other").send(notice(kind="test", data={}))
