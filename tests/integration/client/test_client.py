import asyncio

import httpx
import pytest

import farm
from farm.config import Settings
from farm.server.app import create_app
from farm.types import Role
from tests.unit.analysis.outcomes import device


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
