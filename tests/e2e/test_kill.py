"""``kill -9`` of every part of a farm in the middle of a run: each job still ends, finished or failed with a reason."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import farm
from farm.types import JobState, RunState
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

PARTS = {
    "build worker": "farm.recipes.worker",
    "build task": "ray::_build",
    "harness": "agents.harness",
    "agent": "ray::AgentActor",
    "coordinator": "-m farm.coordinator",
    "concluder": "multiprocessing.spawn import spawn_main",
    "api": "-m farm.server",
    "raylet": "raylet/raylet",
    "gcs": "gcs_server",
}


def find(part: str, state_dir: Path) -> psutil.Process | None:
    """A process of this farm: it descends from this test, or it names the state folder (the harness may outlive
    its parent). Other farms on this machine are left alone."""
    mine = {process.pid for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if PARTS[part] in line and (process.info["pid"] in mine or str(state_dir) in line):
            return process
    return None


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.02)


@pytest.mark.parametrize("part", PARTS)
def test_the_run_goes_on(client: farm.Client, state_dir: Path, image: torch.Tensor, part: str) -> None:
    torch.manual_seed(list(PARTS).index(part))  # a model of its own: something has to be built
    run = client.submit(
        SmallNet().eval(),
        example_inputs=(image,),
        recipes=["torchscript", "onnxruntime"],
        devices="platform=linux",
        protocol=farm.Protocol(min_samples=100, min_seconds=2, max_seconds=2, timeout_seconds=60),
    )
    if not part.startswith("build"):
        until(lambda: any(o.job.state is JobState.RUNNING for o in run.outcomes()), "a job runs", 120)
    until(lambda: find(part, state_dir) is not None, f"{part} is there", 120)
    victim = find(part, state_dir)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    run.wait(timeout_seconds=180)
    assert run.state is RunState.FINISHED
    outcomes = run.outcomes()
    assert [outcome.job.state for outcome in outcomes] == [JobState.FINISHED] * 2, [o.job.failure for o in outcomes]
    for outcome in outcomes:
        finished = [a for a in client.attempts(outcome.job.id) if a.state == "finished"]
        assert len(finished) == 1, "counted once"
        assert finished[0].epoch == outcome.job.epoch
