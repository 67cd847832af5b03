"""Virtual devices beside the host in one farm: both work, and their figures never meet."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import farm
from farm.embedded import embedded_farm
from farm.types import JobState, RunState
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

PROFILE = """
seed: 3
time_scale: 0.1
kinds:
  - {name: phone, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.01},
     thermal: {rise_celsius: 20, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
  - {name: board, platform: linux, soc: V, abi: aarch64, os_version: "6.6", memory_gib: 4, cpu_count: 4,
     clock_ghz: 2, latency: {median_seconds: 0.02},
     thermal: {rise_celsius: 20, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farm.Client]:
    folder = tmp_path_factory.mktemp("virtual")
    (folder / "lab.yaml").write_text(PROFILE)
    environment = {"FARM_AGENT_VIRTUAL_DEVICES": "20", "FARM_AGENT_VIRTUAL_PROFILE": str(folder / "lab.yaml")}
    with embedded_farm(folder / "state", environment) as started:
        deadline = time.monotonic() + 60
        while len(started.devices()) < 21:
            assert time.monotonic() < deadline, "the embedded agent did not show all devices"
            time.sleep(0.1)
        yield started


def test_virtual_and_real_devices_are_told_apart_everywhere(
    client: farm.Client, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    assert len(client.devices("virtual=true")) == 20
    assert len(client.devices("platform=linux")) == 11
    recipes = ["pytorch", "onnxruntime"]
    given = client.add_model(model, example_inputs=(image,), name="small")
    fleet = client.submit(given.id, recipes=recipes, devices="virtual=true")
    host = client.submit(given.id, recipes=recipes, devices="platform=linux,virtual=false", protocol=quick)
    for run in (fleet, host):
        run.wait(timeout_seconds=180)
        assert run.state is RunState.FINISHED
    outcomes = fleet.outcomes()
    assert len(outcomes) == 40
    assert {outcome.job.state for outcome in outcomes} == {JobState.FINISHED}, [o.job.failure for o in outcomes]
    for outcome in outcomes:
        assert outcome.result is not None
        assert outcome.result.runtime_versions == {"virtual": "1"}
        assert "not run" in outcome.result.absent["outputs"]
        assert outcome.device.facts.virtual
    assert {outcome.device.facts.virtual for outcome in host.outcomes()} == {False}

    alone = fleet.compare()
    assert all(row.setting.virtual for row in alone.rows)
    assert " virtual " in str(alone)
    both = client.compare(fleet.id, host.id)
    assert {row.setting.virtual for row in both.rows} == {False}
    assert both.left_out == 40
    assert "Left out: 40 jobs on virtual devices." in str(both)


def test_they_are_seen_while_they_idle(client: farm.Client) -> None:
    first = {device.id: device.last_seen_at for device in client.devices()}
    deadline = time.monotonic() + 30
    while any(device.last_seen_at == first[device.id] for device in client.devices()):
        assert time.monotonic() < deadline, "idle devices look as if they were gone"
        time.sleep(0.5)


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["virtual", "fleet", "--head", "http://127.0.0.1:1"]])
def test_a_bad_profile_is_refused_before_anything_starts(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text("kinds:\n  - {name: phone, platfrom: android}\n")
    flags = ["--devices", "2", "--profile"] if "fleet" in command else ["--virtual-devices", "2", "--virtual-profile"]
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli.app", *command, "--state-dir", str(tmp_path / "state"), *flags, "bad.yaml"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "bad.yaml:2: kinds[0].platfrom: unknown key" in done.stderr.replace("\n", "")
