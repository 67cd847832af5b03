"""The virtual fleet through the driver protocol: what it shows of itself, and what it says it measured."""

from __future__ import annotations

import asyncio
import json
import math
import time
from pathlib import Path

import pytest

from agents.drivers.base import Driver
from agents.harness.runtimes import NAMES
from agents.virtual.driver import VirtualDriver
from farm.analysis.conclusion import conclude
from farm.errors import DeviceError, InfrastructureError
from farm.types import Artifact, Job, JobState, Lease, Measurement, Scenario, VerdictLevel
from tests.unit.agents.virtual.fleet import kind, lease, profile
from tests.values import artifact, recipe, sha256


def driver(count: int = 1, **changes: object) -> VirtualDriver:
    return VirtualDriver("fleet", count, profile(kind(**changes), time_scale=0.001))


def launched(given: VirtualDriver, of: Lease) -> str:
    return asyncio.run(given.launch(of, {}, Path()))


def measure(given: VirtualDriver, attempt_id: int = 1, **changes: object) -> Measurement:
    of = lease(attempt_id, **changes)
    handle = launched(given, of)
    return asyncio.run(given.collect(of, handle, Path(), adopted=False))


def test_everything_says_that_it_is_virtual() -> None:
    fleet: Driver = driver(20)
    for device in fleet.discover():
        assert device.facts.virtual
        assert device.facts.device_model == "virtual-phone"
        assert device.facts.runtimes == NAMES
        assert device.agent == "fleet"
    assert fleet.discover() is fleet.discover(), "unchanged: the same object"


def test_a_measurement_says_that_nothing_was_run() -> None:
    measurement = measure(driver())
    assert measurement.runtime_versions == {"virtual": "1"}
    assert "not run" in measurement.absent["outputs"]
    assert "not run" in measurement.absent["memory_peak_bytes"]
    assert measurement.memory_peak_bytes is None
    assert "not run" in measurement.absent["parity"]
    assert measurement.parity is None
    assert measurement.simulated
    assert measurement.telemetry.temperature_max_celsius is not None
    assert measurement.telemetry.temperature_max_celsius > 25
    assert "virtual" in measurement.telemetry.absent["steal_ratio"]


def concluded(measurement: Measurement) -> tuple[VerdictLevel, set[str]]:
    built: Artifact = artifact(sha256("a"))
    job = Job(
        id=1, run_id=1, recipe=recipe(), build_key=sha256("a"), device_id="d", scenario=Scenario(),
        state=JobState.RUNNING,
    )  # fmt: skip
    result = conclude(job, built, measurement, lease().protocol)
    return result.verdict.level, {reason.code for reason in result.verdict.reasons}


def test_results_are_judged_like_others() -> None:
    assert concluded(measure(driver())) == (VerdictLevel.TRUSTED, {"simulated"})
    level, reasons = concluded(measure(driver(failures={"nan_ratio": 1})))
    assert level is VerdictLevel.INVALID
    assert reasons == {"non-finite-output", "simulated"}
    hot = driver(thermal={"time_constant_seconds": 0.5})
    assert "throttled" in concluded(measure(hot))[1]


def test_it_is_warm_after_work_and_cools_down() -> None:
    now = 0.0
    fleet = VirtualDriver("fleet", 1, profile(time_scale=0.001), clock=lambda: now)
    measure(fleet)
    warm = json.loads(launched(fleet, lease(2)))["temperature_celsius"]
    assert warm > 25.1
    now += 0.060  # a time constant later
    cooler = json.loads(launched(fleet, lease(2)))["temperature_celsius"]
    assert cooler - 25 == pytest.approx((warm - 25) / 2.71828, rel=0.01)


def test_the_handle_is_enough_for_another_process() -> None:
    of = lease()
    first, second = driver(), driver()
    handle = launched(first, of)
    own = asyncio.run(first.collect(of, handle, Path(), adopted=False))
    began = time.monotonic()
    assert asyncio.run(second.collect(of, handle, Path(), adopted=True)) == own
    assert time.monotonic() - began < 0.5, "its time is over already"


def test_after_a_restart_of_the_machine_nobody_waits_for_ever() -> None:
    of = lease()
    handle = json.loads(launched(driver(), of)) | {"at_seconds": time.monotonic() + 1e6}
    asyncio.run(asyncio.wait_for(driver().collect(of, json.dumps(handle), Path(), adopted=True), 5))


def test_a_device_goes_away_and_comes_back() -> None:
    fleet = driver(2, failures={"offline_ratio": 1, "offline_seconds": 200})
    before = fleet.discover()
    with pytest.raises(InfrastructureError, match="went offline"):
        measure(fleet)
    assert [device.id for device in fleet.discover()] == ["fleet-virtual-0001"]
    deadline = time.monotonic() + 10
    while fleet.discover() != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("ratio", "said"), [("crash_ratio", "SIGSEGV"), ("timeout_ratio", "killed after 300 s")])
def test_failures_are_those_of_real_devices(ratio: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        measure(driver(failures={ratio: 1}))


def test_a_broken_device_needs_the_right_step() -> None:
    fleet = driver(failures={"break_ratio": 1, "mended_by": {"power-cycle": 1}})
    assert "not broken" in asyncio.run(fleet.check("fleet-virtual-0000"))
    measure(fleet)
    with pytest.raises(InfrastructureError, match="does not answer"):
        measure(fleet, 2)
    asyncio.run(fleet.recover("fleet-virtual-0000", "reconnect"))
    with pytest.raises(InfrastructureError, match="does not answer"):
        asyncio.run(fleet.check("fleet-virtual-0000"))
    asyncio.run(fleet.recover("fleet-virtual-0000", "power-cycle"))
    assert "not broken" in asyncio.run(fleet.check("fleet-virtual-0000"))
    measure(fleet, 2)


def test_what_nothing_mends_stays_broken() -> None:
    fleet = driver(failures={"break_ratio": 1})
    measure(fleet)
    for step in fleet.discover()[0].recovery:
        asyncio.run(fleet.recover("fleet-virtual-0000", step))
    with pytest.raises(InfrastructureError, match="does not answer"):
        asyncio.run(fleet.check("fleet-virtual-0000"))


def test_a_device_that_is_too_hot_says_so_until_it_has_cooled() -> None:
    now = 0.0
    hot = profile(kind(thermal={"time_constant_seconds": 5, "start_below_celsius": 35}), time_scale=0.001)
    fleet = VirtualDriver("fleet", 2, hot, clock=lambda: now)
    before = fleet.discover()
    measure(fleet)
    blocked, other = fleet.discover()
    assert (blocked.id, other) == (before[0].id, before[1])
    temperature_celsius = json.loads(launched(fleet, lease(2)))["temperature_celsius"]
    assert blocked.blocked == f"too hot: {temperature_celsius:.1f} °C > 35 °C"
    cooling_seconds = 0.001 * 5 * math.log((temperature_celsius - 25) / 10)
    now += 0.99 * cooling_seconds
    assert fleet.discover() == (blocked, other), "the text stays while it cools"
    now += 0.02 * cooling_seconds
    assert fleet.discover() == before
    fleet.kill(launched(fleet, lease(3)))
    assert fleet.discover() == before, "it had no time to get hot"


def test_more_threads_than_cpus_show() -> None:
    assert len(measure(driver(cpu_count=2), scenario=Scenario(threads=4)).cpus_allowed) == 2


def test_a_fleet_that_shrank_says_so() -> None:
    with pytest.raises(InfrastructureError, match="no longer part"):
        measure(driver(), device_id="fleet-virtual-0007")


def test_killing_what_is_gone_is_no_error() -> None:
    fleet = driver()
    handle = launched(fleet, lease())
    fleet.kill(handle)
    fleet.kill(handle)
    driver(0).kill(handle)
