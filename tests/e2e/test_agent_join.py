"""A second machine offers its devices: its own Ray node, its own state folder, artifacts fetched over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import farm
from farm.types import DeviceState, JobState
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

FARM = [sys.executable, "-m", "farm.cli.app"]


def agent_token(state_dir: Path) -> str:
    command = [*FARM, "token", "create", "edge", "--role", "agent", "--state-dir", str(state_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return str(json.loads(done.stdout)["token"])


@contextmanager
def joined(
    head_url: str, token: str, state_dir: Path, command: tuple[str, ...] = ("agent", "--name", "edge")
) -> Iterator[subprocess.Popen[str]]:
    """``farm agent`` at another loopback address, as if on another machine."""
    environment = os.environ | {"FARM_TOKEN": token, "FARM_RAY_HOST": "127.0.0.3"}
    whole = [*FARM, *command, "--join", head_url, "--state-dir", str(state_dir)]
    agent = subprocess.Popen(whole, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield agent
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=60)


def until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.2)


def test_devices_of_another_machine_come_measure_go_and_come_back(
    tmp_path: Path, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    with farm.embedded_farm(tmp_path / "head", {"FARM_RAY_HOST": "127.0.0.2"}) as client:
        token = agent_token(tmp_path / "head")

        def state() -> DeviceState | None:
            return next((device.state for device in client.devices() if device.id == "edge-cpu"), None)

        with joined(client.url, token, tmp_path / "edge"):
            until(lambda: state() is DeviceState.ONLINE, "the agent's device is online")
            run = client.submit(
                model, example_inputs=(image,), recipes=["onnxruntime"], devices="agent=edge", protocol=quick
            )
            run.wait(timeout_seconds=120)
            (outcome,) = run.outcomes()
            assert outcome.job.state is JobState.FINISHED, outcome.job.failure
            assert [attempt.agent for attempt in client.attempts(outcome.job.id)] == ["edge"]
            assert list((tmp_path / "edge" / "agents" / "edge" / "cache").glob("??/*")), "fetched from the head"
        until(lambda: state() is DeviceState.OFFLINE, "the device is offline once its agent is gone")

        waiting = client.submit(
            model, example_inputs=(image,), recipes=["onnxruntime"], devices="agent=edge", protocol=quick
        )
        with joined(client.url, token, tmp_path / "edge"):
            waiting.wait(timeout_seconds=120)
        assert [outcome.job.state for outcome in waiting.outcomes()] == [JobState.FINISHED]

        fleet = ("virtual", "fleet", "--devices", "5", "--name", "lab")
        with joined(client.url, token, tmp_path / "lab", fleet):
            until(lambda: len(client.devices("agent=lab")) == 5, "a virtual fleet joins the same way")
            assert all(device.facts.virtual for device in client.devices("agent=lab"))


def test_an_agent_is_told_at_once_why_it_cannot_join(client: farm.Client, state_dir: Path, tmp_path: Path) -> None:
    for token, expected in ((agent_token(state_dir), "--ray-host"), ("farm_wrong", "does not know the token")):
        with joined(client.url, token, tmp_path / "edge") as agent:
            assert agent.stderr is not None
            said = agent.stderr.read()
            assert agent.wait(timeout=30) == 2
            assert expected in said
