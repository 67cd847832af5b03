"""Builds and their logs, as the client and the command line see them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farm.cli.app import main
from farm.client import Client
from farm.errors import NotFoundError
from farm.recipes import presets
from farm.store.artifacts import ArtifactStore
from farm.types import Build, BuildState, Failure, LineageStep, Role, RunSpec
from tests.integration.server.conftest import LiveFarm
from tests.values import artifact


@pytest.fixture
def client(farm: LiveFarm):
    farm.add_device()
    farm.add_model()
    spec = RunSpec(
        model="net", recipes=(presets.preset("pytorch"), presets.preset("onnxruntime")), devices="platform=linux"
    )
    with farm.client() as http:
        answer = http.post("/runs", content=spec.model_dump_json())
    assert answer.is_success, answer.text
    with Client(farm.url, token=farm.tokens[Role.USER]) as client:
        yield client


@pytest.fixture
def first(client: Client) -> Build:
    return client.builds()[0]


@pytest.fixture
def store(farm: LiveFarm) -> ArtifactStore:
    return ArtifactStore(farm.settings.resolved_store_url)


@pytest.fixture
def end(farm: LiveFarm, first: Build, store: ArtifactStore) -> Callable[..., None]:
    def end(state: BuildState, text: str) -> None:
        log = store.put([text.encode()], "build.log")
        made = artifact(first.key)
        report = made.report.model_copy(
            update={"log": log, "lineage": (LineageStep(label="fp16", seconds=0.25, notes=("A note of it.",)),)}
        )
        failure = Failure(fault="recipe", code="build-failed", message="It crashed.", remedy="Try another.", log=log)
        with farm.store.transaction() as t:
            if state is BuildState.BUILT:
                t.set_build(first.key, state, made.model_copy(update={"report": report}))
            else:
                t.set_build(first.key, state, failure=failure)
        store.discard_live(first.key)

    return end


def test_builds_of_the_newest_jobs_and_of_a_run(client: Client) -> None:
    assert {build.recipe.name for build in client.builds()} == {"pytorch", "onnxruntime"}
    assert client.builds(run=1) == client.builds()
    assert client.builds(run=2) == []
    assert len(client.builds(limit=1)) == 1


def test_a_key_may_be_cut(client: Client, first: Build) -> None:
    assert client.build(first.key[:12]) == first
    with pytest.raises(NotFoundError):
        client.build("0" * 20)


def test_a_log_is_read_while_it_grows_and_on_to_its_end(client: Client, first: Build, store, end) -> None:
    begun = client.build_log(first.key)
    assert (begun.text, begun.next_offset, begun.complete) == ("", 0, False)
    store.put_live(first.key, "farm: one\n½".encode()[:-1])  # cut within a character
    part = client.build_log(first.key)
    assert (part.text, part.next_offset, part.complete) == ("farm: one\n", 10, False)
    end(BuildState.BUILT, "farm: one\n½ done\n")
    rest = client.build_log(first.key, part.next_offset)
    assert (rest.text, rest.complete) == ("½ done\n", True)
    assert client.build_log(first.key, 10_000).complete


def test_a_long_log_comes_in_parts(farm: LiveFarm, client: Client, first: Build, end) -> None:
    end(BuildState.FAILED, "ä" * 3000)
    text, offset, complete = "", 0, False
    with farm.client() as http:
        while not complete:
            part = http.get(f"/builds/{first.key}/log", params={"offset": offset, "limit": 1025}).json()
            text, offset, complete = text + part["text"], part["next_offset"], part["complete"]
    assert text == "ä" * 3000


def test_the_command_line_shows_them(farm: LiveFarm, client: Client, first: Build, end, monkeypatch, capsys) -> None:
    monkeypatch.setenv("FARM_URL", farm.url)
    monkeypatch.setenv("FARM_TOKEN", farm.tokens[Role.USER])
    assert main(["builds"]) == 0
    assert first.key[:12] in capsys.readouterr().out
    assert main(["builds", "log", first.key[:12]]) == 0
    assert "The build goes on" in capsys.readouterr().err
    end(BuildState.FAILED, "farm: litert\nIt said this.\n")
    assert main(["builds", "list", "--run", "1"]) == 0
    assert "It crashed." in capsys.readouterr().out
    assert main(["builds", "log", first.key[:12], "--follow"]) == 0
    assert capsys.readouterr().out == "farm: litert\nIt said this.\n"
    end(BuildState.BUILT, "x")
    assert main(["builds", "show", first.key]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("1.5 s", "fp16", "250 ms", "A note of it.", "torch 2", "model.onnx"))
