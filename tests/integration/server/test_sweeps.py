"""Sweeps over real HTTP: who may do what, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from farm.server.tokens import new_token, token_sha256
from farm.types import Night, NightState, Role, Sweep, SweepPlan, SweepSpec
from tests.integration.server.conftest import LiveFarm, problem
from tests.integration.sweeps.conftest import sweep_spec


@pytest.fixture
def ready(farm: LiveFarm) -> LiveFarm:
    farm.add_device()
    farm.add_model()
    return farm


def put(http: httpx.Client, spec: SweepSpec) -> httpx.Response:
    return http.put(f"/sweeps/{spec.name}", content=spec.model_dump_json())


def test_a_sweep_from_plan_to_removal(ready: LiveFarm) -> None:
    spec = sweep_spec()
    with ready.client() as http:
        planned = SweepPlan.model_validate(http.post("/sweeps/plan", content=spec.model_dump_json()).json())
        assert (planned.is_new, planned.jobs, len(planned.next_at)) == (True, 2, 3)
        assert http.get("/sweeps").json() == [], "a plan changes nothing"
        made = Sweep.model_validate(put(http, spec).json())
        assert (made.spec, made.created_by, made.next_at) == (spec, "the-user", planned.next_at[0])
        assert Sweep.model_validate(put(http, spec).json()) == made
        assert [Sweep.model_validate(each) for each in http.get("/sweeps").json()] == [made]
        assert http.get("/sweeps", params={"after": "nightly"}).json() == []
        night = Night.model_validate(http.post("/sweeps/nightly/run").json())
        assert (night.state, night.trigger, night.requested_by) == (NightState.WAITING, "manual", "the-user")
        problem(http.post("/sweeps/nightly/run"), 409, "conflict")
        assert [Night.model_validate(each) for each in http.get("/sweeps/nightly/nights").json()] == [night]
        assert http.get("/sweeps/nightly/nights", params={"before": night.id}).json() == []
        assert Sweep.model_validate(http.post("/sweeps/nightly/pause").json()).next_at is None
        assert Sweep.model_validate(http.post("/sweeps/nightly/resume").json()).next_at is not None
        assert http.delete("/sweeps/nightly").status_code == 204
        assert "No sweep" in problem(http.get("/sweeps/nightly"), 404, "not-found").detail


def test_owners_change_their_own_admins_any_and_viewers_read(ready: LiveFarm) -> None:
    other = new_token()
    with ready.store.transaction() as tx:
        tx.add_token("somebody", Role.USER, token_sha256(other), datetime.now(UTC))
    spec = sweep_spec()
    changed = spec.model_copy(update={"devices": "platform=linux"})
    with ready.client() as http:
        put(http, spec).raise_for_status()
        elsewhere = {"Authorization": f"Bearer {other}"}
        for method, path in [("POST", "run"), ("POST", "pause"), ("POST", "resume"), ("DELETE", "")]:
            answer = http.request(method, f"/sweeps/nightly/{path}".rstrip("/"), headers=elsewhere)
            assert "belongs to the-user" in problem(answer, 403, "forbidden").detail
        answer = http.put("/sweeps/nightly", content=changed.model_dump_json(), headers=elsewhere)
        problem(answer, 403, "forbidden")
    with ready.client(Role.VIEWER) as http:
        assert len(http.get("/sweeps").json()) == 1
        assert http.get("/sweeps/nightly/nights").json() == []
        problem(http.post("/sweeps/nightly/run"), 403, "forbidden")
        problem(put(http, changed), 403, "forbidden")
    with ready.client(Role.ADMIN) as http:
        assert Sweep.model_validate(put(http, changed).json()).created_by == "the-user"
        assert http.delete("/sweeps/nightly").status_code == 204


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedule": {"cron": "61 2 * * *"}}, "bad minute"),
        ({"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Berln"}}, "no time zone"),
        ({"devices": "plat form="}, ""),
        ({"alerts": [{"metric": "latency", "max_change_ratio": 0.1}]}, "no metric 'latency'"),
        ({"alerts": [{"metric": "accuracy", "max_change_ratio": 0.1}]}, "accuracy is a score"),
        ({"baseline": {"mode": "pinned"}}, "names no run"),
        ({"name": "other"}, "called other, not nightly"),
        (
            {"model": {"kind": "git", "repository": "https://example.org/x.git", "export": ["sh"]}},
            "allow_sweep_commands",
        ),
        ({"model": {"kind": "ftp"}}, "body.model"),
        ({"notify": ["a"] * 21}, "body.notify"),
    ],
)
def test_what_is_refused(standing_farm: LiveFarm, changes: dict[str, Any], says: str) -> None:
    body = json.loads(sweep_spec().model_dump_json()) | changes
    with standing_farm.client() as http:
        answer = http.put("/sweeps/nightly", json=body)
        assert answer.status_code in (403, 422)
        told = problem(answer, answer.status_code, answer.json()["code"])
        assert says in f"{told.detail} {told.remedy}"
        assert http.get("/sweeps/nightly").status_code == 404


def test_a_source_that_the_farm_does_not_allow_is_a_warning_of_the_plan(standing_farm: LiveFarm) -> None:
    body = json.loads(sweep_spec().model_dump_json())
    body["model"] = {"kind": "git", "repository": "https://example.org/x.git", "export": ["sh"]}
    with standing_farm.client() as http:
        planned = SweepPlan.model_validate(http.post("/sweeps/plan", json=body).json())
    assert planned.jobs is None
    assert any("allow_sweep_commands" in warning for warning in planned.warnings)
