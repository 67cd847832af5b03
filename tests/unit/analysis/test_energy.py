from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.analysis.energy import Energy, energy
from farm.report.html import fragment
from farm.types import PowerRecord, VerdictLevel
from tests.unit.analysis.outcomes import device, finished, series
from tests.unit.analysis.power import power_record

PHONE = device("phone", platform="android", device_model="Rocket 9")


def test_energy_is_what_was_taken_over_the_idle_device() -> None:
    found = energy(power_record(idle=0.8, busy=2.3), calls=1000, confidence=0.95)
    assert isinstance(found, Energy)
    assert found.joules.value == pytest.approx(1.5 * 60 / 1000, rel=0.02)
    assert found.joules.low < 1.5 * 60 / 1000 < found.joules.high
    assert found.watts.value == pytest.approx(2.3, rel=0.01) and found.idle_watts == pytest.approx(0.8, rel=0.01)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        found = energy(power_record(idle=0.8, busy=2.3, noise=0.05, seed=seed), calls=1000, confidence=0.95)
        assert isinstance(found, Energy)
        held += found.joules.low <= 0.09 <= found.joules.high
    assert held >= 185, "of 200, at 95 %; half of the idle change is added, so rather more"


@given(st.floats(0.2, 5), st.floats(0.3, 10), st.integers(1, 10_000))
@settings(max_examples=40, deadline=None)
def test_energy_scales_with_power_and_calls(idle: float, more: float, calls: int) -> None:
    found = energy(power_record(idle=idle, busy=idle + more, noise=0.002), calls, 0.95)
    assert isinstance(found, Energy)
    assert found.joules.value == pytest.approx(more * 60 / calls, rel=0.05, abs=0.003 * idle * 60 / calls)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (power_record(measured_seconds=10.0), "not resolvable: current_now x voltage_now of the battery changed"),
        (power_record(refresh=80), "not resolvable"),
        (power_record(noise=0.0), "not resolvable"),
        (power_record(idle=0.8, after=0.9), "W before and 0.9 W after: over 5% apart"),
        (power_record(idle=0.8, busy=0.801), "too little more to tell"),
        (power_record(idle=0.0001, busy=0.0023), "sign or unit"),
        (power_record(idle=30.0, busy=60.0), "sign or unit"),
    ],
)
def test_a_figure_that_could_not_be_trusted_is_none(record: PowerRecord, why: str) -> None:
    found = energy(record, 1000, 0.95)
    assert isinstance(found, str) and why in found


def test_how_long_it_would_take() -> None:
    found = energy(power_record(measured_seconds=12.0), 1000, 0.95)
    assert isinstance(found, str) and "measure for 40 s" in found


def test_a_series_that_ends_early_is_refused() -> None:
    record = power_record()
    cut = record.series.model_copy(update={"seconds": record.series.seconds[:201], "watts": record.series.watts[:200]})
    found = energy(record.model_copy(update={"series": cut}), 1000, 0.95)
    assert isinstance(found, str) and "not read over the whole time" in found


def test_a_comparison_shows_energy_only_where_there_is_some() -> None:
    plain = finished("pytorch", series(0.06, 400), on=PHONE)
    measured = finished("onnxruntime", series(0.02, 400), id=2, on=PHONE, power=power_record(measured_seconds=60.0))
    assert measured.result is not None and measured.result.energy_joules is not None
    without, with_one = Comparison([plain]), Comparison([plain, measured])
    assert "energy" not in str(without) and "energy" in str(with_one)
    assert "<th>energy" not in fragment(without) and "<th>energy" in fragment(with_one)
    (row,) = [row for row in with_one.rows if row.recipe == "onnxruntime"]
    record = row.to_dict()
    assert record["energy_joules"] == pytest.approx(1.5 * 60 / 400, rel=0.02)
    assert record["energy_low_joules"] < record["energy_joules"] < record["energy_high_joules"]
    assert record["power_watts"] == pytest.approx(2.3, rel=0.01) and record["energy_method"] == "battery-current"
    assert with_one.best("energy").recipe == "onnxruntime"


def test_energy_that_was_tried_for_and_refused_is_noted() -> None:
    outcome = finished("pytorch", series(0.06, 400), on=PHONE, power=power_record(after=1.2))
    assert outcome.result is not None and outcome.result.energy_joules is None
    assert outcome.result.verdict.level is VerdictLevel.TRUSTED
    (note,) = outcome.result.verdict.reasons
    assert note.code == "energy-refused" and note.text.lower().startswith(outcome.result.absent["energy"].lower())
