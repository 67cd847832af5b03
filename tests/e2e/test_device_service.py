"""Devices come into service, go out of it and return, in a whole farm, as a person at the command line sees it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import farm
from farm.embedded import embedded_farm
from farm.types import DeviceDetails, DeviceHealth, DeviceState, JobState, Run
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

# Jobs of about a second on phones; a fragile one breaks with its first job and nothing but a new start mends it.
PROFILE = """
seed: 3
time_scale: 0.2
kinds:
  - {name: phone, share: 3, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.05, import_seconds: 2.5},
     thermal: {rise_celsius: 20, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
  - {name: fragile, platform: linux, soc: V, abi: aarch64, os_version: "6.6", memory_gib: 4, cpu_count: 4,
     clock_ghz: 2, latency: {median_seconds: 0.025, import_seconds: 0.05},
     thermal: {rise_celsius: 20, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70},
     failures: {break_ratio: 1.0}}
"""
A, B, C, FRAGILE = (f"local-virtual-{number:04}" for number in range(4))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, state_dir: Path) -> Iterator[farm.Client]:
    profile = tmp_path_factory.mktemp("profile") / "lab.yaml"
    profile.write_text(PROFILE)
    environment = {
        "FARM_AGENT_VIRTUAL_DEVICES": "4",
        "FARM_AGENT_VIRTUAL_PROFILE": str(profile),
        "FARM_AGENT_HOST_DEVICE": "false",
    }
    with embedded_farm(state_dir, environment) as started:
        until(lambda: len(started.devices()) == 4, "all devices are there")
        yield started


@pytest.fixture(scope="module")
def model_id(client: farm.Client) -> str:
    torch.manual_seed(5)
    given = client.add_model(SmallNet().eval(), example_inputs=(torch.rand(1, 3, 32, 32),), name="small")
    return given.id


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.05)


def healthy(client: farm.Client, *ids: str) -> Callable[[], bool]:
    return lambda: all(client.device(id).health is DeviceHealth.GOOD for id in ids)


def running_on(client: farm.Client, id: str) -> Callable[[], bool]:
    return lambda: client.device_details(id).holder is not None


def details(client: farm.Client, id: str) -> DeviceDetails:
    return client.device_details(id)


def test_devices_are_checked_before_they_serve(client: farm.Client) -> None:
    until(healthy(client, A, B, C), "all have passed a check")
    first = details(client, A).checks[-1]
    assert (first.step, first.passed) == ("check", True)


def test_a_drained_device_finishes_its_job_and_returns_by_a_check(client: farm.Client, model_id: str) -> None:
    until(healthy(client, A), "a is in service")
    first = client.submit(model_id, recipes=["pytorch"], devices=f"id={A}")
    until(running_on(client, A), "a measures", 120)
    client.order_device(A, "drain", "new battery")
    second = client.submit(model_id, recipes=["pytorch"], devices=f"id={A}")
    first.wait(timeout_seconds=60)
    assert first.outcomes()[0].job.epoch == 1, "it was not interrupted"
    until(lambda: client.device(A).state is DeviceState.MAINTENANCE, "a is in maintenance")
    (wait,) = second.waits()
    assert (wait.text, wait.live) == (f"waits: {A} is in maintenance (new battery)", True)
    client.order_device(A, "resume")
    second.wait(timeout_seconds=60)
    assert len(details(client, A).checks) >= 2


def test_a_device_taken_at_once_leaves_its_job_to_another(client: farm.Client, model_id: str) -> None:
    until(healthy(client, A, B, C), "all are in service")
    run = client.submit(model_id, recipes=["pytorch"], devices="platform=android, any(1)")
    until(lambda: run.outcomes()[0].job.state is JobState.RUNNING, "it runs", 120)
    taken = run.outcomes()[0].device.id
    client.order_device(taken, "maintain", "it smokes")
    run.wait(timeout_seconds=60)
    (outcome,) = run.outcomes()
    assert outcome.job.state is JobState.FINISHED
    assert outcome.device.id != taken
    assert [attempt.state for attempt in client.attempts(outcome.job.id)] == ["cancelled", "finished"]
    client.order_device(taken, "resume")
    until(healthy(client, taken), "it is back")


def test_a_reserved_device_is_left_to_who_reserved_it(client: farm.Client, model_id: str, token: str) -> None:
    until(healthy(client, B), "b is in service")
    with farm.Client(client.url, token=token) as tester:
        tester.reserve(B, 600, "debugging")
        others = client.submit(model_id, recipes=["pytorch"], devices=f"id={B}")
        own = tester.submit(model_id, recipes=["pytorch"], devices=f"id={B}")
        own.wait(timeout_seconds=60)
        (wait,) = others.waits()
        assert "reserved for tester" in wait.text
        tester.release(B)
    others.wait(timeout_seconds=60)
    assert others.jobs == {JobState.FINISHED: 1}


def test_jobs_that_may_choose_go_where_there_is_room(client: farm.Client, model_id: str) -> None:
    until(healthy(client, A, B, C), "all are in service")
    runs = [client.submit(model_id, recipes=["pytorch"], devices="platform=android, any(1)") for _ in range(6)]
    for run in runs:
        run.wait(timeout_seconds=60)
    assert {run.outcomes()[0].device.id for run in runs} == {A, B, C}


def test_a_waiting_job_says_what_it_waits_for_and_about_how_long(client: farm.Client, model_id: str) -> None:
    until(healthy(client, C), "c is in service")
    client.submit(model_id, recipes=["pytorch"], devices=f"id={C}").wait(timeout_seconds=60)
    runs = [client.submit(model_id, recipes=["pytorch"], devices=f"id={C}") for _ in range(3)]
    until(running_on(client, C), "c measures")
    (wait,) = runs[2].waits()
    assert f"{C} is leased to job" in wait.text
    assert "1 job is ahead of it" in wait.text
    assert wait.starts_in_seconds is not None
    assert 0 < wait.starts_in_seconds < 30
    for run in runs:
        run.wait(timeout_seconds=60)


def test_a_broken_device_climbs_the_ladder_and_ends_in_quarantine(client: farm.Client, model_id: str) -> None:
    until(healthy(client, FRAGILE), "it is in service")
    client.submit(model_id, recipes=["pytorch"], devices=f"id={FRAGILE}").wait(timeout_seconds=120)
    run = client.submit(model_id, recipes=["pytorch"], devices=f"id={FRAGILE}")
    until(lambda: client.device(FRAGILE).health is DeviceHealth.BAD, "it is quarantined", 120)
    steps = [check.step for check in details(client, FRAGILE).checks if not check.passed]
    assert steps[::-1] == ["check", "reconnect", "reboot"]
    (wait,) = run.waits()
    assert "quarantined" in wait.text
    run.cancel()
    client.order_device(FRAGILE, "check")
    until(lambda: len(details(client, FRAGILE).checks) >= 7, "it was looked at once more")
    until(lambda: client.device(FRAGILE).health is DeviceHealth.BAD, "and is still broken")


def test_a_looping_device_is_checked_again_and_again(client: farm.Client) -> None:
    until(healthy(client, A), "a is in service")
    before = len(details(client, A).checks)
    client.order_device(A, "loop")
    until(lambda: len(details(client, A).checks) >= before + 2 or len(details(client, A).checks) == 10, "two checks")
    assert client.device(A).health is DeviceHealth.LOOPING
    client.order_device(A, "resume")
    until(healthy(client, A), "a is in service again")


def test_every_run_came_to_its_end(client: farm.Client) -> None:
    def active() -> list[Run]:
        return [run for run in client.runs() if run.state == "active"]

    until(lambda: not active(), "all runs have ended")
