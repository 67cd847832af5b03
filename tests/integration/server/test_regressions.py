"""Regressions over the API, by the client and on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import farm
from farm.cli.app import main
from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.types import Bisection, BisectionStep, Estimate, Member, Regression, RegressionState, Role
from tests.integration.server.conftest import LiveFarm, problem, serve
from tests.integration.sweeps.regressions.story import Story


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveFarm]:
    with serve(Settings(state_dir=tmp_path)) as found:
        story = Story(
            found.store,
            ArtifactStore(found.settings.resolved_store_url),
            found.settings,
            [f"phone-{number:02d}" for number in range(4)],
            factor=lambda version, variant, device: 1.1 if version != "v1" and variant == "int8" else 1.0,
            silent=lambda night, variant, device: night == 8 and (variant, device) == ("fp32", "phone-01"),
        )
        story.quiet_nights(8)
        story.pass_night("<script>alert(1)<script>")
        story.examine()
        story.confirm()
        yield found


@pytest.fixture
def client(live: LiveFarm) -> Iterator[farm.Client]:
    with farm.Client(live.url, token=live.tokens[Role.USER]) as found:
        yield found


def by_kind(client: farm.Client, kind: str) -> Regression:
    return next(found for found in client.regressions("nightly") if found.kind == kind)


def test_lists_are_filtered(client: farm.Client) -> None:
    everything = client.regressions()
    assert {found.kind for found in everything} == {"worse", "missing"}
    worse = by_kind(client, "worse")
    assert worse.state is RegressionState.CONFIRMED, worse.reason
    assert client.regressions("nightly", variant="int8", state="confirmed") == [worse]
    assert client.regressions(device="nobody") == []
    assert client.regressions(state="refuted") == []
    assert [each.id for each in client.regressions(before=everything[0].id)] == [each.id for each in everything[1:]]
    with pytest.raises(farm.errors.NotFoundError, match="No sweep 'weekly'"):
        client.regressions("weekly")
    with pytest.raises(farm.errors.NotFoundError, match="No regression 999"):
        client.regression(999)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]


def test_the_page_says_all_and_runs_nothing(live: LiveFarm, client: farm.Client) -> None:
    found = by_kind(client, "worse")
    with live.client() as http:
        answer = http.get(f"/regressions/{found.id}/page")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy
    html = answer.text
    page = Page()
    page.feed(html)
    assert "script" not in page.tags, "the version is quoted"
    assert page.links == []
    assert page.tags.count("svg") == 1 + len(found.evidence) + 1, "history, pairs, and where"
    for said in ("confirmed", "virtual", "phone-00", "latency_p50", "&lt;script&gt;"):
        assert said in html
    assert "No result of fp32 on phone-01" in client.regression_page(by_kind(client, "missing").id)


def test_a_noisy_device_and_what_is_a_series_own(live: LiveFarm, client: farm.Client, capsys) -> None:
    worse = by_kind(client, "worse")
    own = worse.worst.model_copy(update={"own_change": Estimate(value=1.04, low=1.03, high=1.05), "own_before": 0.01})
    wild = Member(key=worse.key, noise_ratio=0.14, new=worse.worst.new)
    plain = {"evidence": (), "state": RegressionState.CLOSED}
    with live.store.transaction() as tx:
        noisy = tx.add_regression(worse.model_copy(update=plain | {"kind": "noisy", "members": (wild,)}))
        apart = tx.add_regression(worse.model_copy(update=plain | {"members": (own,)}))
    target = ["--url", live.url, "--token", live.tokens[Role.USER]]
    page = client.regression_page(noisy.id)
    assert f"{worse.key.device} is noisy: latency_p50 of one artifact differs by up to 14 % (virtual)" in page
    assert "What was compared" not in page
    assert page.count("<svg") == 1, "its nights"
    assert main([*target, "regressions", "show", str(noisy.id)]) == 0
    assert "is noisy" in capsys.readouterr().out
    assert "of its own" in client.regression_page(apart.id)
    assert "of its own" not in client.regression_page(worse.id)
    assert main([*target, "regressions", "show", str(apart.id)]) == 0
    assert "+4.0 % (+3.0 % to +5.0 %) without what" in " ".join(capsys.readouterr().out.split())


def test_on_the_command_line(live: LiveFarm, client: farm.Client, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = ["--url", live.url, "--token", live.tokens[Role.USER]]
    found = by_kind(client, "worse")
    assert main([*target, "regressions", "list", "--sweep", "nightly"]) == 0
    assert "latency_p50 of int8" in capsys.readouterr().out
    assert main([*target, "regressions", "show", str(found.id)]) == 0
    shown = capsys.readouterr().out
    assert "measured once more" in shown
    assert "phone-03" in shown
    assert main([*target, "regressions", "show", str(found.id), "--json"]) == 0
    assert Regression.model_validate(json.loads(capsys.readouterr().out)) == found
    assert main([*target, "regressions", "page", str(found.id)]) == 0
    assert (tmp_path / f"regression-{found.id}.html").read_text().startswith("<!doctype html>")
    assert main([*target, "regressions", "show", "999"]) == 2
    assert "farm regressions list" in capsys.readouterr().err


def test_only_who_owns_the_sweep_closes(live: LiveFarm, client: farm.Client) -> None:
    missing = by_kind(client, "missing")
    with live.client() as http:
        problem(http.post(f"/regressions/{missing.id}/close", json={"reason": "mine"}), 403, "forbidden")
    with live.client(Role.ADMIN) as http:
        problem(http.post(f"/regressions/{missing.id}/close", json={"reason": ""}), 422, "bad-request")
    with farm.Client(live.url, token=live.tokens[Role.ADMIN]) as admin:
        closed = admin.close_regression(missing.id, "the phone is on loan")
        assert closed.state is RegressionState.CLOSED
        assert closed.reason == "closed by the-admin: the phone is on loan"
        with pytest.raises(farm.errors.ConflictError, match="is closed already"):
            admin.close_regression(missing.id, "again")


def test_a_search_that_ended_without_a_version_is_begun_again(live: LiveFarm, client: farm.Client, capsys) -> None:
    worse = by_kind(client, "worse")
    with farm.Client(live.url, token=live.tokens[Role.ADMIN]) as admin:
        with pytest.raises(farm.errors.ConflictError, match="begins by itself"):
            admin.search_regression(worse.id)
        steps = (
            BisectionStep(version="a", run_id=7, change=None, worse=False),
            BisectionStep(version="b", run_id=None, change=None, worse=None, reason="it cannot be prepared"),
        )
        ended = Bisection(good="v1", bad="c", candidates=("a", "b", "c"), steps=steps, reason="b cannot be measured")
        with live.store.transaction() as tx:
            tx.set_regression(worse.model_copy(update={"bisection": ended}))
        with pytest.raises(farm.errors.ForbiddenError, match="or an admin"):
            client.search_regression(worse.id)
        target = ["--url", live.url, "--token", live.tokens[Role.ADMIN]]
        assert main([*target, "regressions", "search", str(worse.id)]) == 0
        assert f"farm regressions show {worse.id}" in capsys.readouterr().out
        again = client.regression(worse.id).bisection
        assert again is not None
        assert (again.steps, again.reason) == (steps[:1], "")
        with pytest.raises(farm.errors.ConflictError, match="is being searched for"):
            admin.search_regression(worse.id)
