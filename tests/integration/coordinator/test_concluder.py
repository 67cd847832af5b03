"""Results are worked out in another process, which may be killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from farm.coordinator.concluder import Concluder, Conclusion
from farm.errors import DeviceError
from farm.store import samples
from farm.types import Job, JobState, Measurement, Protocol, Scenario
from tests.unit.analysis.outcomes import measurement
from tests.values import artifact, recipe, sha256

JOB = Job(
    id=7,
    run_id=1,
    recipe=recipe(),
    build_key=sha256("key"),
    device_id="host-a",
    scenario=Scenario(),
    state=JobState.RUNNING,
    epoch=1,
)
SECONDS = [0.01, 0.011] * 100


@pytest.fixture
def concluder() -> Iterator[Concluder]:
    made = Concluder()
    yield made
    made.close()


def conclude(concluder: Concluder, measured: Measurement) -> Conclusion:
    return asyncio.run(concluder.conclude(JOB, artifact(JOB.build_key), measured, Protocol()))


def worker() -> psutil.Process:
    children = (child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE)
    (found,) = (child for child in children if "spawn_main" in " ".join(child.cmdline()))
    return found


def test_a_result_with_its_samples_and_its_record(concluder: Concluder) -> None:
    measured = measurement(SECONDS, JOB.id)
    made = conclude(concluder, measured)
    assert made.result.job_id == JOB.id
    assert made.result.latency_seconds["p50"].value == pytest.approx(0.0105, rel=0.06)
    assert samples.read(made.samples).measured_seconds == SECONDS
    assert Measurement.model_validate_json(made.record) == measured


def test_it_goes_on_with_another_process_when_its_own_was_killed(concluder: Concluder) -> None:
    first = conclude(concluder, measurement(SECONDS, JOB.id))
    killed = worker()
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(10)
    assert conclude(concluder, measurement(SECONDS, JOB.id)).result == first.result
    assert worker().pid != killed.pid


def test_what_cannot_be_concluded_says_so_as_if_it_were_worked_out_here(concluder: Concluder) -> None:
    with pytest.raises(DeviceError, match="no latency samples"):
        conclude(concluder, measurement([], JOB.id))
