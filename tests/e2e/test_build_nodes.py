"""Builds on another machine than the head, which has no build slot itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import farm
from farm.types import JobState
from tests.e2e.conftest import SmallNet, torch
from tests.e2e.test_agent_join import agent_token, joined, until

pytestmark = [pytest.mark.real_models, pytest.mark.slow, pytest.mark.many_nodes]

HEAD = {"FARM_RAY_HOST": "127.0.0.2", "FARM_BUILD_SLOTS": "0"}
BUILDER = ("agent", "--name", "workshop", "--build-slots", "1")


def test_a_head_without_build_slots_has_its_builds_done_by_a_machine_that_joins(
    tmp_path: Path, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    with farm.embedded_farm(tmp_path / "head", HEAD) as client:
        until(lambda: bool(client.devices()), "the head's agent shows its device")
        run = client.submit(
            model, example_inputs=(image,), recipes=["torchscript"], devices="platform=linux", protocol=quick
        )
        time.sleep(3)
        assert [outcome.job.state for outcome in run.outcomes()] == [JobState.WAITING], "nobody can build yet"
        with joined(client.url, agent_token(tmp_path / "head"), tmp_path / "workshop", BUILDER):
            run.wait(timeout_seconds=150)
        (outcome,) = run.outcomes()
        assert outcome.job.state is JobState.FINISHED, outcome.job.failure
        assert [device.id for device in client.devices()] == ["local-cpu"], "a machine that builds does not measure"


def test_builds_that_wait_for_a_slot_longer_than_for_a_node_are_not_failed(
    tmp_path: Path, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    busy = {"FARM_BUILD_SLOTS": "1", "FARM_MAX_BUILDS": "3", "FARM_BUILD_START_TIMEOUT_SECONDS": "2"}
    with farm.embedded_farm(tmp_path / "head", busy) as client:
        until(lambda: bool(client.devices()), "the head's agent shows its device")
        recipes = ["torchscript", "onnxruntime", "executorch-xnnpack"]
        run = client.submit(model, example_inputs=(image,), recipes=recipes, devices="platform=linux", protocol=quick)
        run.wait(timeout_seconds=180)
        assert [outcome.job.state for outcome in run.outcomes()] == [JobState.FINISHED] * 3


def test_a_build_that_no_node_can_do_fails_and_says_what_is_missing(
    tmp_path: Path, model: SmallNet, image: torch.Tensor, quick: farm.Protocol
) -> None:
    with farm.embedded_farm(tmp_path / "head", HEAD | {"FARM_BUILD_START_TIMEOUT_SECONDS": "1"}) as client:
        until(lambda: bool(client.devices()), "the head's agent shows its device")
        run = client.submit(
            model, example_inputs=(image,), recipes=["torchscript"], devices="platform=linux", protocol=quick
        )
        run.wait(timeout_seconds=120)
        (outcome,) = run.outcomes()
        assert outcome.job.state is JobState.FAILED
        assert outcome.job.failure is not None
        assert "farm.io/builds-" in outcome.job.failure.message
