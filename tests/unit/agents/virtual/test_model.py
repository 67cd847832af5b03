"""The model of a virtual device is repeatable, and bounded by what its profile says."""

from __future__ import annotations

import statistics
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.virtual import model
from agents.virtual.model import Condition
from farm.types import Protocol, Scenario
from tests.unit.agents.virtual.fleet import kind, lease
from tests.values import blob

seconds = st.floats(0, 1e5)
celsius = st.floats(25, 55)


def rested(of: model.Kind) -> Condition:
    return Condition.rested(of)


def test_the_same_lease_goes_the_same_way_in_another_process() -> None:
    code = (
        "from agents.virtual import model; from tests.unit.agents.virtual.fleet import kind, lease;"
        "print(hash(model.course(kind(), 5, lease(3), model.Condition.rested(kind())).samples_seconds))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    own = model.course(kind(), 5, lease(3), rested(kind()))
    assert int(done.stdout) == hash(own.samples_seconds)
    assert own != model.course(kind(), 6, lease(3), rested(kind())), "the seed matters"
    assert own != model.course(kind(), 5, lease(4), rested(kind())), "a repeat is another measurement"


def test_artifact_device_and_threads_make_the_latency() -> None:
    of = kind()
    first = model.base_seconds(of, 1, lease(1))
    assert model.base_seconds(of, 1, lease(2)) == first, "not the attempt"
    assert model.base_seconds(of, 1, lease(batch=4)) == 4 * first
    others = [
        model.base_seconds(of, 1, lease(files=(blob("other.onnx"),))),
        model.base_seconds(of, 1, lease(device_id="fleet-virtual-0001")),
        model.base_seconds(of, 1, lease(scenario=Scenario(threads=4))),
    ]
    assert len({first, *others}) == 4
    assert others[-1] == pytest.approx(first * (0.2 + 0.8 / 4))
    assert model.base_seconds(kind(speed=2), 1, lease()) == pytest.approx(first / 2)
    devices = [model.base_seconds(of, 1, lease(device_id=f"d{number}")) for number in range(400)]
    assert np.std(np.log(devices)) == pytest.approx(np.hypot(0.1, 0.03), rel=0.15)


@given(temperature=celsius, first=seconds, second=seconds, busy=st.booleans())
def test_heat_and_charge_stay_within_bounds_and_add_up(
    temperature: float, first: float, second: float, busy: bool
) -> None:
    of = kind(battery={"hours_full_to_empty": 4, "hours_empty_to_full": 2})
    before = Condition(temperature, 0.5)
    after = model.passed(of, before, first, busy=busy)
    assert 25 - 1e-9 <= after.temperature_celsius <= 55 + 1e-9
    assert 0 <= after.charge_ratio <= 1
    change = after.temperature_celsius - temperature
    assert change >= -1e-9 if busy else change <= 1e-9
    at_once, in_two = (
        model.passed(of, before, first + second, busy=busy),
        model.passed(of, after, second, busy=busy),
    )
    assert at_once.temperature_celsius == pytest.approx(in_two.temperature_celsius)
    assert at_once.charge_ratio == pytest.approx(in_two.charge_ratio)


@given(low=st.floats(-40, 200), high=st.floats(-40, 200))
def test_a_warmer_device_is_never_faster(low: float, high: float) -> None:
    low, high = sorted((low, high))
    thermal = kind().thermal
    assert 1 >= model.clock_ratio(thermal, low) >= model.clock_ratio(thermal, high) >= thermal.min_clock_ratio


def test_a_device_that_works_long_gets_hot_and_throttles() -> None:
    of = kind(latency={"noise": 0.0}, thermal={"time_constant_seconds": 2})
    course = model.course(of, 1, lease(protocol=Protocol(min_seconds=9.9, max_seconds=10)), rested(of))
    assert course.hottest_celsius > 54
    assert course.lowest_clock_ratio < 0.6
    assert course.samples_seconds[-1] > 1.5 * course.first_seconds / 3


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_noise_is_lognormal_and_serially_correlated_as_said(correlation: float) -> None:
    of = kind(
        latency={"noise": 0.1, "correlation": correlation, "artifact_spread": 0}, thermal={"throttle_celsius": 54.9}
    )
    protocol = Protocol(min_samples=10_000, max_samples=10_000, max_seconds=250)
    samples = np.log(model.course(of, 1, lease(protocol=protocol), rested(of)).samples_seconds)
    assert len(samples) == 10_000
    assert np.std(samples) == pytest.approx(0.1, rel=0.1)
    assert np.corrcoef(samples[:-1], samples[1:])[0, 1] == pytest.approx(correlation, abs=0.05)
    assert np.exp(np.median(samples)) == pytest.approx(model.base_seconds(of, 1, lease()), rel=0.02)


def test_drift_shows() -> None:
    of = kind(latency={"noise": 0.0, "drift_per_minute": 1.0}, thermal={"throttle_celsius": 54.9})
    samples = model.course(of, 1, lease(protocol=Protocol(min_seconds=9, max_seconds=10)), rested(of)).samples_seconds
    assert samples[-1] / samples[0] == pytest.approx(1 + 9 / 60, rel=0.05)


def test_the_stop_rule_is_that_of_the_harness() -> None:
    noisy, quiet = kind(latency={"noise": 1.0}), kind(latency={"noise": 0.001})
    protocol = Protocol(max_seconds=3)
    assert model.course(quiet, 1, lease(protocol=protocol), rested(quiet)).stopped_by == "interval"
    late = model.course(noisy, 1, lease(protocol=protocol), rested(noisy))
    assert late.stopped_by == "time"
    assert sum(late.samples_seconds[:-1]) < 3 <= sum(late.samples_seconds)
    most = Protocol(max_samples=100, max_seconds=100, target_half_width_ratio=1e-9)
    assert model.course(noisy, 1, lease(protocol=most), rested(noisy)).stopped_by == "samples"


def test_failures_come_as_often_as_the_profile_says() -> None:
    of = kind(
        latency={"median_seconds": 0.1},
        failures={
            "crash_ratio": 0.2,
            "timeout_ratio": 0.1,
            "offline_ratio": 0.3,
            "nan_ratio": 0.25,
            "offline_seconds": 7,
        },
    )
    protocol = Protocol(min_samples=10, max_samples=10, min_warmup_runs=1, min_warmup_seconds=0)
    courses = [model.course(of, 1, lease(number, protocol=protocol), rested(of)) for number in range(1000)]
    ends = [course.end for course in courses]
    for end, ratio in (("crashed", 0.2), ("timed-out", 0.1), ("went-offline", 0.3), ("measured", 0.4)):
        assert ends.count(end) / 1000 == pytest.approx(ratio, abs=0.05), end
    assert sum(not course.finite for course in courses) / 1000 == pytest.approx(0.25, abs=0.05)
    away = [course.away_seconds for course in courses if course.end == "went-offline"]
    assert statistics.mean(away) == pytest.approx(7, rel=0.25)
    assert all(course.seconds == 300 for course in courses if course.end == "timed-out")


def test_devices_break_as_often_as_the_profile_says_and_alike_in_every_process() -> None:
    of = kind(failures={"break_ratio": 0.4, "mended_by": {"reconnect": 0.5, "reboot": 0.25}})
    found = [model.breakage(of, 1, lease(number)) for number in range(2000)]
    assert found == [model.breakage(of, 1, lease(number)) for number in range(2000)]
    for end, ratio in ((None, 0.6), ("reconnect", 0.2), ("power-cycle", 0.0), ("reboot", 0.1), ("nothing", 0.1)):
        assert found.count(end) / 2000 == pytest.approx(ratio, abs=0.03), end


def test_breaking_changes_no_figure_of_the_same_seed() -> None:
    plain, fragile = kind(), kind(failures={"break_ratio": 1})
    assert model.course(plain, 1, lease(), rested(plain)) == model.course(fragile, 1, lease(), rested(fragile))


@given(temperature=celsius)
def test_it_may_start_again_exactly_when_it_has_cooled(temperature: float) -> None:
    of = kind(thermal={"start_below_celsius": 40})
    cooling_seconds = model.cooling_seconds(of.thermal, temperature)
    if temperature <= 40:
        assert cooling_seconds == 0
    else:
        after = model.passed(of, Condition(temperature), cooling_seconds, busy=False)
        assert after.temperature_celsius == pytest.approx(40)


def test_an_empty_battery_sends_the_device_away_until_it_has_charged() -> None:
    of = kind(battery={"hours_full_to_empty": 1, "hours_empty_to_full": 1, "min_ratio": 0.2, "resume_ratio": 0.5})
    course = model.course(of, 1, lease(), Condition(25, 0.2))
    assert course.end == "measured"
    assert course.after.charge_ratio < 0.2
    assert course.away_seconds == pytest.approx((0.5 - course.after.charge_ratio) * 3600)
    assert model.course(of, 1, lease(), Condition(25, 0.9)).away_seconds == 0


def test_it_never_costs_more_than_its_limit_of_samples() -> None:
    of = kind(latency={"median_seconds": 1e-4, "artifact_spread": 0, "noise": 0.0})
    protocol = Protocol(max_seconds=3600, max_samples=10**9, min_samples=10**8, timeout_seconds=4000)
    course = model.course(of, 1, lease(protocol=protocol), rested(of))
    assert len(course.samples_seconds) == model.MOST_SAMPLES
    assert course.stopped_by == "samples"
