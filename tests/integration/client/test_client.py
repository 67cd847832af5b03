import asyncio

import httpx
import pytest

import farm
from farm.config import Settings
from farm.server.app import create_app
from farm.store.transaction import JobChange
from farm.types import JobState, Role
from tests.unit.analysis.outcomes import AT, device


def test_health_needs_no_token_and_everything_else_does(head):
    with farm.Client(head.url) as client:
        health = client.health()
        assert (health["version"], health["coordinator"]) == (farm.__version__, "away")
        with pytest.raises(farm.AuthError, match="No token for the farm at") as caught:
            client.devices()
    assert "FARM_TOKEN" in caught.value.remedy


def test_what_is_left_out_comes_from_the_settings(head, tmp_path, monkeypatch):
    token = head.token(Role.VIEWER)
    (tmp_path / "farm.toml").write_text(f'url = "{head.url}/"\ntoken = "wrong"\n')
    monkeypatch.setenv("FARM_TOKEN", token)
    with farm.Client() as client:
        assert client.url == head.url
        assert client.whoami()["role"] == "viewer"
    with farm.Client(token="farm_wrong") as client, pytest.raises(farm.AuthError):
        client.whoami()


def test_a_notebook_with_a_running_loop_can_use_the_ordinary_client(head):
    async def cell():
        with farm.Client(head.url, token=head.token()) as client:
            return client.whoami()["role"]

    assert asyncio.run(cell()) == "user"


def test_the_head_says_which_term_of_a_selector_is_wrong(head):
    with head.store.transaction() as transaction:
        found = device("local-cpu")
        transaction.upsert_device(found, found.last_seen_at)
    with farm.Client(head.url, token=head.token()) as client:
        assert [found.id for found in client.devices("platform=linux")] == ["local-cpu"]
        with pytest.raises(farm.SelectorError) as caught:
            client.devices("platform=linux, memory=8")
    assert "memory" in caught.value.message
    assert caught.value.details["position"] == len("platform=linux, ")


def test_lists_that_come_in_pages_are_whole(head, monkeypatch):
    run = head.submit("pytorch", "onnxruntime")
    with head.store.transaction() as transaction:
        for id in ("phone-1", "phone-2"):
            transaction.upsert_device(device(id, platform="ios"), AT)
    monkeypatch.setattr("farm.connection.PAGE", 1)
    with farm.Client(head.url, token=head.token()) as client:
        assert [found.id for found in client.devices()] == ["local-cpu", "phone-1", "phone-2"]
        assert [one.job.recipe.name for one in client.run(run.id).outcomes()] == ["pytorch", "onnxruntime"]
        assert len(client.compare(run.id).rows) == len(client.run(run.id).outcomes())


def test_a_device_is_reserved_for_one_person(head):
    run = head.submit("pytorch")
    with farm.Client(head.url, token=head.token()) as ann, farm.Client(head.url, token=head.token()) as bob:
        made = ann.reserve("local-cpu", 600, "battery drain")
        assert (made.user, made.reason) == (ann.whoami()["name"], "battery drain")
        assert ann.reservations() == [made]
        assert bob.device_details("local-cpu").reservation == made
        with pytest.raises(farm.ConflictError, match=f"{made.user} has reserved device local-cpu until"):
            bob.reserve("local-cpu", 600)
        with pytest.raises(farm.ForbiddenError):
            bob.release("local-cpu")
        with pytest.raises(farm.QuotaError, match="at most 28,800 s"):
            ann.reserve("local-cpu", 86_400)
        with pytest.raises(farm.UserError, match="seconds"):
            ann.reserve("local-cpu", float("nan"))
        ann.release("local-cpu")
        assert ann.reservations() == []
        with pytest.raises(farm.ForbiddenError, match="role user"):
            ann.order_device("local-cpu", "drain")
    with farm.Client(head.url, token=head.token(Role.ADMIN)) as admin:
        assert admin.order_device("local-cpu", "drain", "new battery").reason == "new battery"
        with pytest.raises(farm.NotFoundError):
            admin.order_device("a/b?c", "check")
    head.end(run)


def test_why_a_job_waits(head):
    run = head.submit("pytorch", "onnxruntime")
    first, second = head.jobs(run)
    with head.store.transaction() as transaction:
        transaction.set_jobs([JobChange(first.id, JobState.RUNNING)])

    async def work():
        async with farm.AsyncClient(head.url, token=head.token()) as client:
            (wait,) = await (await client.run(run.id)).waits()
            assert wait == await client.job_wait(second.id)
            with pytest.raises(farm.ConflictError, match="it is running"):
                await client.job_wait(first.id)
            return wait

    wait = asyncio.run(work())
    assert (wait.job_id, wait.text, wait.live) == (second.id, "its artifact is not built yet", False)
    with farm.Client(head.url, token=head.token()) as client:
        assert client.run(run.id).waits() == [client.job_wait(second.id)] == [wait]
    head.end(run)


def test_a_transport_takes_the_place_of_the_network(tmp_path):
    async def work():
        app = create_app(Settings(state_dir=tmp_path / "state"))
        transport = httpx.ASGITransport(app)
        async with farm.AsyncClient("http://farm", token="farm_x", transport=transport) as client:
            health = await client.health()
            with pytest.raises(farm.AuthError, match="does not know the token"):
                await client.devices()
        return health

    assert asyncio.run(work())["status"] == "ok"
