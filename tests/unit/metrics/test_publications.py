"""What of a result becomes a point: what was measured, and nothing for what was not."""

from __future__ import annotations

from typing import Any

from farm.metrics import catalogue
from farm.metrics.publications import of_result
from farm.types import Estimate, Job, JobState, Publication, Reason, Scenario, Telemetry, Verdict, VerdictLevel
from tests.values import device, recipe, result, sha256

THROTTLED = Verdict(
    level=VerdictLevel.SUSPECT,
    reasons=(Reason(code="throttled", level=VerdictLevel.SUSPECT, text="Its clock was capped."),),
)


def published(**fields: Any) -> Publication:
    job = Job(
        id=1,
        run_id=1,
        recipe=recipe(),
        build_key=sha256("build"),
        device_id=device().id,
        scenario=Scenario(),
        state=JobState.FINISHED,
    )
    return of_result(job, device(), "net", result(job.id, **fields))


def values(publication: Publication) -> dict[str, float]:
    return {point.name: point.value for point in publication.points if not point.labels}


def test_energy_and_power_have_their_points() -> None:
    found = values(
        published(
            energy_joules=Estimate(value=0.25, low=0.2, high=0.3), power_watts=Estimate(value=4.0, low=3.9, high=4.1)
        )
    )
    assert (found[catalogue.ENERGY.name], found[catalogue.POWER.name]) == (0.25, 4.0)


def test_no_energy_is_not_zero_energy() -> None:
    assert not {catalogue.ENERGY.name, catalogue.POWER.name} & set(values(published()))
    nothing = values(published(energy_joules=Estimate(value=0.0, low=-0.1, high=0.1)))
    assert nothing[catalogue.ENERGY.name] == 0.0


def test_that_nothing_throttled_is_told_only_where_it_would_have_shown() -> None:
    name = catalogue.THROTTLED.name
    assert name not in values(published(telemetry=Telemetry()))
    assert values(published(telemetry=Telemetry(cpu_frequency_limit_hertz=2e9)))[name] == 0
    assert values(published(telemetry=Telemetry(thermal_status_max=0)))[name] == 0
    cooled = Telemetry(cooling_devices=("thermal-cpufreq-0",))
    assert values(published(telemetry=cooled, verdict=THROTTLED))[name] == 1


def test_a_figure_that_is_no_number_is_left_out() -> None:
    found = published(latency_mean_seconds=float("nan"))
    assert catalogue.LATENCY_MEAN.name not in values(found)
    assert catalogue.TRUSTED.name in values(found)
