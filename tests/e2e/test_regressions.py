"""From nights of a virtual fleet to a confirmed regression: the whole farm, whose sweep process is killed meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

import farm
from farm.embedded import embedded_farm
from farm.types import AlertRule, NightState, Regression, RegressionState, SweepSpec, UploadedModel
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

T = TypeVar("T")

# The artifact's own speed follows from its hash: two models are a slow-down, planted where the slower one comes later.
PROFILE = """
seed: 3
time_scale: 0.002
kinds:
  - {name: phone, share: 3, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.01, artifact_spread: 0.3, pairing_spread: 0},
     thermal: {rise_celsius: 0, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
  - {name: noisy, share: 1, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.01, artifact_spread: 0, pairing_spread: 0, noise: 0.1, correlation: 0.9},
     thermal: {rise_celsius: 0, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
"""
DEVICES = 4
QUIET_NIGHTS = 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("regressions")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[farm.Client]:
    (folder / "lab.yaml").write_text(PROFILE)
    environment = {
        "FARM_AGENT_VIRTUAL_DEVICES": str(DEVICES),
        "FARM_AGENT_VIRTUAL_PROFILE": str(folder / "lab.yaml"),
        "FARM_AGENT_HOST_DEVICE": "false",
    }
    with embedded_farm(folder / "state", environment) as started:
        until(lambda: len(started.devices()) == DEVICES, "the fleet did not show up", 60)
        yield started


def until(done: Callable[[], T], why: str, seconds: float = 120) -> T:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    return found


def sweep_processes(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            mine = process.environ().get("FARM_STATE_DIR") == str(folder / "state")
            if mine and "farm.sweeps" in process.cmdline():
                found.append(process)
    return found


def two_versions(client: farm.Client) -> tuple[str, str]:
    """Ids of a fast model and of one that is slower on the phones, by their artifacts."""
    medians: dict[str, float] = {}
    for seed in range(6):
        torch.manual_seed(seed)
        model = client.add_model(SmallNet().eval(), example_inputs=(torch.rand(1, 3, 32, 32),), name="net")
        run = client.submit(model.id, recipes=["pytorch"], devices="virtual=true")
        run.wait(timeout_seconds=180)
        first = next(o for o in run.outcomes() if o.job.device_id.endswith("0000"))
        assert first.result is not None, first.job.failure
        medians[model.id] = first.result.latency_seconds["p50"].value
        fast, slow = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
        if medians[slow] / medians[fast] > 1.08:
            return fast, slow
    raise AssertionError(medians)


def test_a_slower_version_is_confirmed_though_the_process_is_killed(client: farm.Client, folder: Path) -> None:
    fast, slow = two_versions(client)

    def apply(model_id: str) -> None:
        client.apply_sweep(
            SweepSpec(
                name="nightly",
                model=UploadedModel(ref=model_id),
                recipes=(next(info.recipe for info in client.recipes() if info.recipe.name == "pytorch"),),
                devices="virtual=true",
                alerts=(AlertRule(metric="latency_p50", max_change_ratio=0.03),),
            )
        )

    def night() -> None:
        asked = client.run_sweep("nightly")

        def over() -> bool:
            now = next(each for each in client.nights("nightly") if each.id == asked.id)
            assert now.state not in (NightState.FAILED, NightState.SKIPPED), now.reason
            return now.state is NightState.EXAMINED

        until(over, "the night did not end")

    apply(fast)
    for _ in range(QUIET_NIGHTS):
        night()
    assert client.regressions("nightly", state=RegressionState.CONFIRMED) == []

    apply(slow)
    night()
    killed = sweep_processes(folder)
    assert killed
    for process in killed:
        process.kill()

    def settled() -> list[Regression]:
        found = client.regressions("nightly")
        waiting = (RegressionState.SUSPECTED, RegressionState.CONFIRMING)
        return [] if not found or any(each.state in waiting for each in found) else found

    settled_ones = until(settled, "it was not measured once more")
    (found,) = [each for each in settled_ones if each.state is RegressionState.CONFIRMED]
    noisy = next(device.id for device in client.devices() if device.id.endswith("0003"))
    assert noisy not in found.affected
    assert len(found.affected) == DEVICES - 1
    assert found.virtual
    assert (found.worst.old, found.worst.new) != (None, None)
    outcomes = client.run(found.evidence[0].run_id).outcomes()
    for device in {outcome.device.id for outcome in outcomes}:
        mine = [outcome for outcome in outcomes if outcome.device.id == device]
        taken = [outcome.result.measured_at for outcome in mine if outcome.result]
        assert taken == sorted(taken), "measured in the order of the turns"
        models = [outcome.job.model_id for outcome in mine]
        assert models[:4] == [fast, slow, slow, fast]
    assert "<script" not in client.regression_page(found.id)
