"""A sweep over a small virtual fleet with a whole farm, whose processes are killed around the due times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

import farm
from farm.embedded import embedded_farm
from farm.types import Night, NightState, RunState
from tests.e2e.conftest import SmallNet, torch
from tests.e2e.test_virtual_fleet import PROFILE

pytestmark = [pytest.mark.real_models, pytest.mark.slow, pytest.mark.many_nodes, pytest.mark.timeout(900)]

SWEEP = "name: fleet\nmodel: small\nrecipes: [pytorch]\ndevices: platform=android\n"
EVERY_MINUTE = "schedule: '* * * * *'\n"
MINUTE = timedelta(minutes=1)


def test_one_run_per_due_time_whatever_is_killed(tmp_path: Path, model: SmallNet, image: torch.Tensor) -> None:
    (tmp_path / "lab.yaml").write_text(PROFILE)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    environment = {
        "FARM_AGENT_VIRTUAL_DEVICES": "4",
        "FARM_AGENT_VIRTUAL_PROFILE": str(tmp_path / "lab.yaml"),
        "FARM_AGENT_HOST_DEVICE": "true",
    }
    state_dir = tmp_path / "state"
    with embedded_farm(state_dir, environment) as client:
        await_devices(client)
        client.add_model(model, example_inputs=(image,), name="small")
        apply(client, tmp_path / "sweep.yaml")
        told = json.loads(command(client, "sweep", "run", "fleet", "--wait", "--json"))
        assert told["run"]["state"] == "finished"
        assert told["night"]["trigger"] == "manual"
        (tmp_path / "sweep.yaml").write_text(SWEEP + EVERY_MINUTE)
        apply(client, tmp_path / "sweep.yaml")
        await_nights(client, 2)
        kill("farm.sweeps", state_dir)
        await_nights(client, 3)
        kill("farm.server", state_dir)
        kill("farm.coordinator", state_dir)
        time.sleep(2)
        kill("farm.cli.app", state_dir)
    time.sleep(61)  # a due time passes while there is no farm
    with embedded_farm(state_dir, environment) as client:
        await_devices(client)
        await_nights(client, 6)
        client.pause_sweep("fleet")
        deadline = time.monotonic() + 120
        while not settled(client):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        nights = [night for night in client.nights("fleet", 500) if night.trigger != "manual"][::-1]
        runs = client.runs(500)
    due = [night.due_at for night in nights]
    assert due == [due[0] + index * MINUTE for index in range(len(due))], "none lost, none twice, in their order"
    with_run = [night.run_id for night in nights if night.run_id is not None]
    assert len(with_run) == len(set(with_run)) == len(runs) - 1, "a run each, and the one that was asked for"
    assert all(night.run_id or night.state is NightState.SKIPPED for night in nights)


def settled(client: farm.Client) -> bool:
    """What was due has begun, and its runs have ended."""
    begun = {NightState.WAITING, NightState.PREPARING}.isdisjoint(night.state for night in client.nights("fleet", 500))
    return begun and all(run.state is not RunState.ACTIVE for run in client.runs(100))


def await_devices(client: farm.Client) -> None:
    deadline = time.monotonic() + 90
    while len([device for device in client.devices("platform=android") if device.state != "offline"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def await_nights(client: farm.Client, count: int) -> list[Night]:
    deadline = time.monotonic() + 60 * (count + 1)
    while True:
        try:
            nights = client.nights("fleet", 500)
        except farm.errors.InfrastructureError:
            nights = []
        if len(nights) >= count:
            return nights
        assert time.monotonic() < deadline
        time.sleep(0.2)


def command(client: farm.Client, *words: str) -> str:
    environment = os.environ | {"FARM_URL": client.url, "FARM_TOKEN": client.connection.token or ""}
    line = [sys.executable, "-m", "farm.cli.app", *words]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def apply(client: farm.Client, path: Path) -> None:
    command(client, "sweep", "apply", str(path), "--yes")


def kill(part: str, state_dir: Path) -> None:
    """Of this farm: it descends from this test."""
    for process in psutil.Process().children(recursive=True):
        try:
            if part in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                return
        except psutil.Error:
            continue
    raise AssertionError(f"{part} of {state_dir} is not there")
