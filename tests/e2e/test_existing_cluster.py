"""A farm on a Ray cluster that somebody else runs, with a token and the labels that docs/cluster.md names."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import farm
from farm.cluster.node import check_reachable
from farm.errors import ConfigError
from farm.supervisor.ground import free_port
from farm.types import JobState
from tests.e2e.conftest import SmallNet, torch
from tests.e2e.test_agent_join import agent_token, joined, until

pytestmark = [pytest.mark.real_models, pytest.mark.slow, pytest.mark.many_nodes]

HOST = "127.0.0.4"
LABELS = "farm.io/build=true,farm.io/builds-reference=true,farm.io/builds-torchscript=true"


def answers(address: str) -> bool:
    try:
        check_reachable(address)
    except ConfigError:
        return False
    return True


def test_builds_and_agents_use_the_cluster_that_is_there(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    port = free_port(HOST, 0)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    start = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    light = ["--num-cpus=1", "--object-store-memory=80000000", "--include-dashboard=false", f"--labels={LABELS}"]
    folder = tmp_path_factory.mktemp("ray")  # Ray's sockets need a short path
    ray = subprocess.Popen(
        [*start, f"--node-ip-address={HOST}", f"--temp-dir={folder}", *light],
        env=os.environ | token | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: answers(f"{HOST}:{port}"), "Ray listens")
        with farm.embedded_farm(tmp_path / "head", token | {"FARM_RAY_ADDRESS": f"{HOST}:{port}"}) as client:
            fleet = ("virtual", "fleet", "--devices", "2", "--name", "lab")
            with joined(client.url, agent_token(tmp_path / "head"), tmp_path / "lab", fleet):
                until(lambda: len(client.devices("agent=lab")) == 2, "the fleet joins")
                run = client.submit(
                    model, example_inputs=(image,), recipes=["torchscript"], devices="agent=lab", protocol=quick
                )
                run.wait(timeout_seconds=150)
                outcomes = run.outcomes()
                assert [outcome.job.state for outcome in outcomes] == [JobState.FINISHED] * 2, outcomes[0].job.failure
    finally:
        os.killpg(ray.pid, signal.SIGKILL)
        ray.wait(timeout=30)
