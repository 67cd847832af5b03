"""Each of the mistakes that make a phone's energy wrong, made on a phone whose power is known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android import power
from agents.android.calibration import Calibration, Observation, calibrate
from agents.android.parsers.absent import Absent
from agents.android.samples import read
from agents.meters import external
from agents.meters.beside import Recorded
from farm.analysis.energy import Energy, energy
from farm.errors import DeviceError
from farm.types import PowerRecord, PowerSeries
from tests.unit.agents.android.phone import BUSY_WATTS, IDLE_WATTS, OFFSET, UPTIME, harness, sampled
from tests.unit.agents.android.samples import BATTERY

MICRO_OUT_NEGATIVE = Calibration(sign=-1, amperes_per_unit=1e-6)


def recorded(
    calibration: Calibration | Absent = MICRO_OUT_NEGATIVE, *, slept_seconds: float = 0.0, **fields: Any
) -> PowerRecord | Absent:
    samples = read(sampled(**fields))
    assert not isinstance(samples, Absent)
    return power.record(samples, harness(slept_seconds=slept_seconds), calibration, emulator=False)


def joules_per_call(record: PowerRecord | Absent, calls: int = 1000) -> float:
    assert not isinstance(record, Absent), record
    found = energy(record, calls, 0.95)
    assert isinstance(found, Energy), found
    return found.joules.value


@pytest.mark.parametrize(("sign", "scale"), [(-1, 1e6), (1, 1e6), (-1, 1e5), (1, 1e5)])
def test_current_times_voltage_on_the_harnesss_clock(sign: int, scale: float) -> None:
    calibration = Calibration(sign=1 if sign > 0 else -1, amperes_per_unit=1 / scale)
    found = recorded(calibration, sign=sign, scale=scale)
    assert not isinstance(found, Absent)
    assert found.series.method == "battery-current"
    assert found.measured.start_seconds == pytest.approx(UPTIME + 34 + OFFSET)
    assert joules_per_call(found) == pytest.approx((BUSY_WATTS - IDLE_WATTS) * 50 / 1000, rel=0.01)


def test_rails_by_difference_also_on_a_charger() -> None:
    fed = BATTERY.replace("USB powered: false", "USB powered: true")
    found = recorded(rails=True, battery=fed)
    assert not isinstance(found, Absent) and found.series.method == "odpm"
    mean = sum(found.series.watts[40:80]) / 40
    assert mean == pytest.approx(BUSY_WATTS, rel=0.02)


def test_the_charge_counter_where_the_current_is_denied() -> None:
    found = recorded(keys="v,q")
    assert not isinstance(found, Absent) and found.series.method == "charge-counter"
    assert joules_per_call(found) == pytest.approx((BUSY_WATTS - IDLE_WATTS) * 50 / 1000, rel=0.02)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"battery": BATTERY.replace("USB powered: false", "USB powered: true")}, "on a charger (USB)"),
        ({"battery": BATTERY.replace("  status: 3", "  (UPDATES STOPPED -- x)\n  status: 3")}, "faked"),
        ({"battery": BATTERY.replace("status: 3", "status: 2")}, "not discharging"),
        ({"battery": ""}, "no state that tells"),
        ({"sign": 1}, "calibration of its current no longer fits"),
        ({"scale": 1e3}, "calibration of its current no longer fits"),
        ({"counter_scale": 0.0}, "did not fall"),
        ({"counter_scale": -0.5}, "did not fall"),
        ({"counter_scale": 2.0}, "differ by more than 20%"),
        ({"values": lambda at: {"i": "" if round(at * 4) % 8 == 0 else "-400000"}}, "current_now was read in"),
        ({"slept_seconds": 3.0}, "slept for 3.0 s"),
        ({"calibration": Absent("not calibrated"), "keys": "i,v"}, "not calibrated"),
        ({"keys": "s,o"}, "not resolvable: the charge counter moved 0 times"),
    ],
)
def test_a_mistake_is_found_out(fields: dict[str, Any], why: str) -> None:
    found = recorded(fields.pop("calibration", MICRO_OUT_NEGATIVE), **fields)
    assert isinstance(found, Absent) and why in found.why, found


def test_a_counter_of_few_steps_is_not_held_against_the_current() -> None:
    found = recorded(values=lambda at: {"q": f"{2_750_000 - 5000 * ((at > 1050) + (at > 1080))}"})
    assert not isinstance(found, Absent)


def test_a_counter_of_few_steps_alone_gives_no_figure() -> None:
    found = recorded(keys="v,q", values=lambda at: {"q": f"{2_750_000 - int((at - 1000) / 20) * 5000}"})
    assert not isinstance(found, Absent)
    said = energy(found, 1000, 0.95)
    assert isinstance(said, str) and ("not resolvable" in said or "not read over the whole time" in said)


def test_an_emulator_has_no_energy() -> None:
    samples = read(sampled())
    assert not isinstance(samples, Absent)
    found = power.record(samples, harness(), MICRO_OUT_NEGATIVE, emulator=True)
    assert found == Absent(power.EMULATOR)


def test_a_meter_beside_the_phone_goes_the_same_way() -> None:
    samples = read(sampled())
    assert not isinstance(samples, Absent)
    seconds = [UPTIME + number / 1000 for number in range(120_000)]
    watts = [
        (2.4 if 1030 <= at < 1090 else 0.8) * (1 + (number * 7919 % 1000 - 500) / 1e5)
        for number, at in enumerate(seconds)
    ]
    series = external.series("Acme meter", UPTIME, 0.001, watts)
    assert series.method == "external" and len(series.watts) == 2400
    found = power.external(Recorded(series, 0.01), samples, harness())
    assert joules_per_call(found) == pytest.approx(1.6 * 50 / 1000, rel=0.01)
    unsure = power.external(Recorded(series, 0.3), samples, harness())
    assert isinstance(found, PowerRecord) and isinstance(unsure, PowerRecord)
    few, many = energy(found, 1000, 0.95), energy(unsure, 1000, 0.95)
    assert isinstance(few, Energy) and isinstance(many, Energy)
    assert many.joules.high - few.joules.high == pytest.approx(1.6 * 0.29 / 1000, rel=0.01)
    unknown = power.external(Recorded(series, 0.7), samples, harness())
    assert isinstance(unknown, Absent) and "known to 0.7 s only" in unknown.why


def test_a_meter_without_readings_is_an_error() -> None:
    with pytest.raises(DeviceError, match="gave 3 readings"):
        external.series("Acme meter", 0.0, 0.001, [1.0] * 3)


def observations(unplugged: int, plugged: int, count: int = 5) -> list[Observation]:
    out = [Observation(current=unplugged, volts=3.9, status=3, powered=False)] * count
    return out + [Observation(current=plugged, volts=4.1, status=2, powered=True)] * count


@pytest.mark.parametrize(
    ("unplugged", "plugged", "sign", "unit"),
    [
        (-411_000, 900_000, -1, 1e-6),  # as Pixels count
        (1_104_003, -1_753_000, 1, 1e-6),  # as Qualcomm's gauges do
        (-1503, 1531, -1, 1e-3),  # as Samsung's
        (400, -326, 1, 1e-3),
    ],
)
def test_sign_and_unit_are_found_by_trial(unplugged: int, plugged: int, sign: int, unit: float) -> None:
    found = calibrate(observations(unplugged, plugged))
    assert found == Calibration(sign=1 if sign > 0 else -1, amperes_per_unit=unit)
    assert not isinstance(found, Absent) and found.amperes_out(unplugged) > 0 > found.amperes_out(plugged)
    assert Calibration.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ([], "0 of 5 readings with the cable out"),
        (observations(-411_000, 900_000)[:5], "0 of 5 readings with the phone charging"),
        (observations(-411_000, -200_000), "same direction"),
        (observations(-411_000, 0), "same direction"),
        (observations(0, 900_000), "no phone's"),
        (observations(12_000, -900_000), "no phone's"),
        (
            [*observations(-411_000, 900_000), *observations(500_000, 900_000, 2)],
            "changes its sign",
        ),
    ],
)
def test_a_gauge_that_cannot_be_trusted_gets_no_calibration(given_: list[Observation], why: str) -> None:
    found = calibrate(given_)
    assert isinstance(found, Absent) and why in found.why


@given(st.lists(st.tuples(st.integers(-(10**7), 10**7), st.integers(1, 5), st.booleans()), max_size=30))
def test_a_calibration_always_says_that_current_flows_out_of_an_unplugged_battery(
    readings: list[tuple[int, int, bool]],
) -> None:
    given_ = [
        Observation(current=current, volts=3.9, status=status, powered=powered) for current, status, powered in readings
    ]
    found = calibrate(given_)
    if not isinstance(found, Absent):
        assert all(found.amperes_out(each.current) >= 0 for each in given_ if not each.powered and each.status == 3)


def test_one_reading_that_lags_behind_the_cable_does_no_harm() -> None:
    found = calibrate([*observations(-411_000, 900_000, 10), *observations(5000, 900_000, 1)])
    assert found == Calibration(sign=-1, amperes_per_unit=1e-6)


def test_a_series_is_consistent() -> None:
    with pytest.raises(ValueError, match="do not increase"):
        PowerSeries(method="odpm", source="x", seconds=(0.0, 0.0), watts=(1.0,))
    with pytest.raises(ValueError, match="need 2 times"):
        PowerSeries(method="odpm", source="x", seconds=(0.0,), watts=(1.0,))
