"""From nights of a virtual fleet to a confirmed regression, and to the commit that it came with: the whole farm, whose
sweep process is killed meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest

import farm
from farm.embedded import embedded_farm
from farm.types import AlertRule, GitModel, NightState, Regression, RegressionState, SweepSpec, UploadedModel
from tests.e2e.conftest import SmallNet, torch
from tests.integration.sweeps.sources.ground import Origin

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
IMAGE = torch.zeros(1, 3, 32, 32)
EXPORT = """
import os, shutil
for file in ("model.pt2", "example_inputs.npz"):
    shutil.copy(file.replace("model", "trained"), os.environ["FARM_EXPORT_DIR"] + "/" + file)
"""


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
        "FARM_SWEEP_MODEL_DIRS": json.dumps([str(folder / "repositories")]),
        "FARM_ALLOW_SWEEP_COMMANDS": "true",
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


@dataclass(frozen=True)
class Version:
    model_id: str
    file: Path
    seconds: float


@pytest.fixture(scope="module")
def versions(client: farm.Client, folder: Path) -> list[Version]:
    """The fastest on the phones first. Virtual phones tell models apart by their artifacts."""
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        file = folder / f"net{seed}.pt2"
        torch.export.save(torch.export.export(SmallNet().eval(), (IMAGE,)), str(file))
        model = client.add_model(file, example_inputs=(IMAGE,), name="net")
        run = client.submit(model.id, recipes=["pytorch"], devices="virtual=true")
        run.wait(timeout_seconds=180)
        first = next(o for o in run.outcomes() if o.job.device_id.endswith("0000"))
        assert first.result is not None, first.job.failure
        found.append(Version(model.id, file, first.result.latency_seconds["p50"].value))
    found.sort(key=lambda version: version.seconds)
    assert found[-1].seconds > 1.08 * found[0].seconds, found
    return found


def apply(client: farm.Client, name: str, model: UploadedModel | GitModel) -> None:
    client.apply_sweep(
        SweepSpec(
            name=name,
            model=model,
            recipes=(next(info.recipe for info in client.recipes() if info.recipe.name == "pytorch"),),
            devices="virtual=true",
            alerts=(AlertRule(metric="latency_p50", max_change_ratio=0.03),),
        )
    )


def measured_night(client: farm.Client, sweep: str) -> None:
    asked = client.run_sweep(sweep)

    def over() -> bool:
        now = next(each for each in client.nights(sweep) if each.id == asked.id)
        assert now.state not in (NightState.FAILED, NightState.SKIPPED), now.reason
        return now.state is NightState.EXAMINED

    until(over, "the night did not end")


def settled(client: farm.Client, sweep: str) -> list[Regression]:
    found = client.regressions(sweep)
    waiting = (RegressionState.SUSPECTED, RegressionState.CONFIRMING)
    return [] if not found or any(each.state in waiting for each in found) else found


def test_a_slower_version_is_confirmed_though_the_process_is_killed(
    client: farm.Client, folder: Path, versions: list[Version]
) -> None:
    fast, slow = versions[0].model_id, versions[-1].model_id
    apply(client, "nightly", UploadedModel(ref=fast))
    for _ in range(QUIET_NIGHTS):
        measured_night(client, "nightly")
    assert client.regressions("nightly", state=RegressionState.CONFIRMED) == []

    apply(client, "nightly", UploadedModel(ref=slow))
    measured_night(client, "nightly")
    killed = sweep_processes(folder)
    assert killed
    for process in killed:
        process.kill()

    settled_ones = until(lambda: settled(client, "nightly"), "it was not measured once more")
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


@pytest.mark.many_nodes
def test_the_commit_that_made_it_slower_is_found(client: farm.Client, folder: Path, versions: list[Version]) -> None:
    """Between the nights lie commits that change nothing that is measured, one that makes it a little slower, and then
    the one."""
    fast, mild, slow = versions[0], versions[1], versions[-1]
    assert mild.seconds - fast.seconds < 0.4 * (slow.seconds - fast.seconds), versions

    (folder / "repositories").mkdir()
    origin = Origin(folder / "repositories" / "net")
    np.savez(origin.path / "example_inputs.npz", **{"0.0": IMAGE.numpy()})

    def commit(version: Version, readme: str = "") -> str:
        shutil.copy(version.file, origin.path / "trained.pt2")
        return origin.commit(export__py=EXPORT, README=readme)

    good = commit(fast)
    apply(client, "trunk", GitModel(repository=str(origin.path), export=("python", "export.py")))
    for _ in range(QUIET_NIGHTS):
        measured_night(client, "trunk")
    between = [commit(fast, "how to train it"), commit(mild), commit(slow), commit(slow, "how to export it")]
    bad = commit(slow)
    measured_night(client, "trunk")

    def searched() -> Regression | None:
        confirmed = client.regressions("trunk", state=RegressionState.CONFIRMED)
        return next((each for each in confirmed if each.bisection and each.bisection.over), None)

    until(lambda: settled(client, "trunk"), "it was not measured once more")
    found = until(searched, "no search ended", 300)
    bisection = found.bisection
    assert bisection is not None
    assert (bisection.good, bisection.bad, bisection.candidates) == (good, bad, (*between, bad))
    assert bisection.culprit == between[2], bisection
    measured = [step for step in bisection.steps if step.run_id is not None]
    assert measured, "not all is known from the nights' artifacts"
    for step in measured:
        assert step.change is not None
        assert client.run(step.run_id).state == "finished"
    assert between[2][:12] in client.regression_page(found.id)
