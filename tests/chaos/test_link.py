"""The cable of an agent's machine is pulled in the middle of a run and put back: every job finishes exactly once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import farm
from farm.types import DeviceState, HeadStarted, JobState
from tests.chaos.network import Network
from tests.e2e.conftest import SmallNet, image, model, torch
from tests.e2e.test_agent_join import agent_token, until

__all__ = ["image", "model"]  # fixtures
pytestmark = [pytest.mark.real_models, pytest.mark.slow, pytest.mark.many_nodes]

FARM = [sys.executable, "-m", "farm.cli.app"]
CUT_SECONDS = 20
DEVICES = 3
PROFILE = """
seed: 5
time_scale: 1
kinds:
  - {name: phone, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.05},
     thermal: {rise_celsius: 10, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
"""


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def test_a_run_outlives_a_cut_link(tmp_path: Path, model: SmallNet, image: torch.Tensor) -> None:
    (tmp_path / "lab.yaml").write_text(PROFILE)
    with Network.or_skip() as network:
        here, there = network.add("head"), network.add("lab")
        up = [*FARM, "up", "--host", here.address, "--ray-host", here.address, "--port", "0", "--json"]
        head = here.popen([*up, "--state-dir", str(tmp_path / "head")], stdout=subprocess.PIPE, text=True)
        try:
            started = HeadStarted.model_validate_json(head.stdout.readline())
            fleet = [*FARM, "virtual", "fleet", "--join", started.url, "--name", "lab", "--devices", str(DEVICES)]
            lab = there.popen(
                [*fleet, "--profile", str(tmp_path / "lab.yaml"), "--state-dir", str(tmp_path / "lab")],
                env=os.environ | {"FARM_TOKEN": agent_token(tmp_path / "head"), "FARM_RAY_HOST": there.address},
                text=True,
            )
            try:
                with farm.Client(started.url, token=started.token) as client:
                    run_over_a_cut(network, client, model, image)
            finally:
                end(lab)
        finally:
            end(head)
            head.stdout.close()


def run_over_a_cut(network: Network, client: farm.Client, model: SmallNet, image: torch.Tensor) -> None:
    def online() -> int:
        return [device.state for device in client.devices("agent=lab")].count(DeviceState.ONLINE)

    until(lambda: online() == DEVICES, "the lab's devices are online")
    run = client.submit(
        model,
        example_inputs=(image,),
        recipes=["pytorch", "torchscript"],
        devices="agent=lab",
        protocol=farm.Protocol(min_samples=100, min_seconds=8, max_seconds=8, timeout_seconds=60),
    )
    until(lambda: any(o.job.state is JobState.RUNNING for o in run.outcomes()), "a job runs", 120)
    network.cut("lab")
    time.sleep(CUT_SECONDS)
    network.heal("lab")
    run.wait(timeout_seconds=180)
    outcomes = run.outcomes()
    assert [outcome.job.state for outcome in outcomes] == [JobState.FINISHED] * 2 * DEVICES, [
        outcome.job.failure for outcome in outcomes
    ]
    for outcome in outcomes:
        finished = [attempt for attempt in client.attempts(outcome.job.id) if attempt.state == "finished"]
        assert [attempt.epoch for attempt in finished] == [outcome.job.epoch], "counted once"
    until(lambda: online() == DEVICES, "no device stays leased")
