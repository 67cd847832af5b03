"""The head's Ray is killed while a machine is joined: it comes back at the same address, and jobs go on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import psutil
import pytest

import farm
from farm.types import DeviceState, JobState
from tests.e2e.conftest import SmallNet, torch
from tests.e2e.test_agent_join import agent_token, joined, until

pytestmark = [pytest.mark.real_models, pytest.mark.slow, pytest.mark.many_nodes]


def parts(root: psutil.Process, *names: str) -> list[psutil.Process]:
    return [
        process
        for process in root.children(recursive=True)
        if any(name in " ".join(process.cmdline()) for name in names)
    ]


def actor_pid(agent: subprocess.Popen[str]) -> int | None:
    actors = parts(psutil.Process(agent.pid), "ray::AgentActor")
    return actors[0].pid if actors else None


@pytest.mark.parametrize("storage", ["memory", "rocksdb"])
def test_jobs_on_a_joined_machine_go_on_when_the_heads_ray_was_killed(
    tmp_path: Path, model: SmallNet, image: torch.Tensor, quick: farm.Protocol, storage: str
) -> None:
    head = {"FARM_RAY_HOST": "127.0.0.2", "FARM_RAY_GCS_STORAGE": storage}
    fleet = ("virtual", "fleet", "--devices", "2", "--name", "lab")
    with farm.embedded_farm(tmp_path / "head", head) as client:
        (supervisor,) = (process for process in psutil.Process().children() if "up" in process.cmdline())

        def online() -> bool:
            return [device.state for device in client.devices("agent=lab")] == [DeviceState.ONLINE] * 2

        with joined(client.url, agent_token(tmp_path / "head"), tmp_path / "lab", fleet) as agent:
            until(online, "the joined machine's devices are online")
            before = actor_pid(agent)
            for victim in parts(supervisor, "raylet/raylet", "gcs_server"):
                victim.send_signal(signal.SIGKILL)
            run = client.submit(
                model, example_inputs=(image,), recipes=["torchscript"], devices="agent=lab", protocol=quick
            )
            run.wait(timeout_seconds=180)
            outcomes = run.outcomes()
            assert [outcome.job.state for outcome in outcomes] == [JobState.FINISHED] * 2, outcomes[0].job.failure
            if storage == "rocksdb":
                assert before is not None and actor_pid(agent) == before, "it never stopped"
