"""Parsers of what phones print: right values, reasons for what makes no sense, and never an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android.parsers import (
    battery,
    cpufreq,
    cpuinfo,
    devicelist,
    getprop,
    memory,
    odpm,
    perfetto,
    powersupply,
    thermalservice,
)
from agents.android.parsers.absent import Absent, integer, number
from tests.unit.agents.android import samples

PARSERS: dict[str, Callable[[str], Any]] = {
    "getprop": getprop.parse,
    "battery": battery.parse,
    "history": battery.history,
    "thermalservice": thermalservice.parse,
    "current": powersupply.current,
    "volts": powersupply.volts,
    "celsius": powersupply.celsius,
    "charge": powersupply.charge_coulombs,
    "odpm": odpm.parse,
    "total": memory.total_bytes,
    "rollup": memory.rollup,
    "dumped": memory.dumped,
    "clusters": cpufreq.clusters,
    "cpuinfo": cpuinfo.parse,
    "devices": devicelist.parse,
    "perfetto": perfetto.rows,
    "number": number,
    "integer": integer,
}


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good sample, cut, with a piece of it replaced by something else."""
    text = draw(st.sampled_from(samples.EVERYTHING))
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 12)))
    piece = draw(
        st.one_of(st.text(max_size=6), st.sampled_from(["NaN", "-1", "9" * 30, "\n", "\r\n", "\x00", "٣", "{", "]"]))
    )
    return (text[:start] + piece + text[end:])[: draw(st.integers(0, len(text) + 8))]


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@given(text=st.one_of(st.text(), mutated()))
def test_no_text_raises(parse: Callable[[str], Any], text: str) -> None:
    found = parse(text)
    if isinstance(found, Absent):
        assert found.why and "\n" not in found.why


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize("text", [samples.DENIED, "", "\n", "Can't find service: thermalservice\n"])
def test_a_denial_is_never_a_reading(parse: Callable[[str], Any], text: str) -> None:
    assert isinstance(parse(text), Absent)


def test_the_reason_is_the_phones_own_word() -> None:
    found = powersupply.current(samples.DENIED)
    assert isinstance(found, Absent) and "Permission denied" in found.why


def test_a_property_may_span_lines_and_be_empty() -> None:
    found = getprop.parse(samples.GETPROP)
    assert not isinstance(found, Absent)
    assert found["persist.sys.boot.reason.history"] == "reboot,1700000001\ncold,1700000000"
    assert found["ro.kernel.qemu"] == "" and found["ro.soc.model"] == "AC900"


def test_only_the_state_itself_is_read_of_a_battery() -> None:
    found = battery.parse(samples.BATTERY)
    assert not isinstance(found, Absent)
    assert found.volts == 3.911, "not the one in the log buffer"
    assert (found.charge_ratio, found.celsius, found.status) == (0.61, 28.7, battery.DISCHARGING)
    assert found.charge_coulombs == pytest.approx(2750000 * 3.6e-3)
    assert found.current_amperes == -0.412 and found.powered == ()
    assert battery.charging(found) is None and found.absent == {}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("  AC powered: false", "  (UPDATES STOPPED -- use 'reset' to restart)\n  AC powered: false", "faked"),
        ("  USB powered: false", "  USB powered: true", "on a charger"),
        ("  status: 3", "  status: 4", "not charging"),
        ("  status: 3\n", "", "no 'status'"),
        ("  USB powered: false", "  USB powered: maybe", "USB powered"),
    ],
)
def test_energy_from_a_phone_that_is_fed_is_refused(old: str, new: str, why: str) -> None:
    found = battery.parse(samples.BATTERY.replace(old, new))
    assert not isinstance(found, Absent)
    assert why in (battery.charging(found) or "")


def test_a_battery_value_that_no_phone_has_is_absent() -> None:
    found = battery.parse(
        samples.BATTERY.replace("temperature: 287", "temperature: 99999").replace("level: 61", "level:")
    )
    assert not isinstance(found, Absent)
    assert found.celsius is None and found.charge_ratio is None
    assert "99999" in found.absent["celsius"] and "charge_ratio" in found.absent


def test_a_history_keeps_whole_lines_only() -> None:
    found = battery.history(samples.HISTORY)
    assert not isinstance(found, Absent)
    (one,) = found
    assert (one.volts, one.current_amperes) == (3.911, -0.412)
    assert one.day_seconds == pytest.approx(15 * 3600 + 9 * 60 + 26.535)


def test_temperatures_come_fresh_from_the_hal() -> None:
    found = thermalservice.parse(samples.THERMAL)
    assert not isinstance(found, Absent)
    assert [(sensor.name, sensor.celsius) for sensor in found.temperatures] == [
        ("BIG", 44.25),
        ("LITTLE", 39.0),
        ("VIRTUAL-SKIN", 33.1),
        ("battery", 28.9),
    ]
    assert len(found.rejected) == 3, "NaN, s, and one without a status"
    assert (found.status, found.overridden) == (1, False)
    hottest = found.hottest("CPU", "SKIN")
    assert hottest is not None and hottest.name == "BIG"
    assert found.hottest("NPU") is None
    assert thermalservice.active(found, emulator=False) == (thermalservice.Cooling("thermal-cpufreq-7", 2),)


def test_an_emulators_constant_cooling_is_no_cap() -> None:
    found = thermalservice.parse(samples.THERMAL.replace("mValue=2,", "mValue=100,"))
    assert not isinstance(found, Absent)
    assert thermalservice.active(found, emulator=True) == ()
    assert len(thermalservice.active(found, emulator=False)) == 1


def test_without_the_hal_cached_temperatures_do_not_count() -> None:
    found = thermalservice.parse(samples.THERMAL.split("HAL Ready")[0])
    assert not isinstance(found, Absent) and found.temperatures == ()


def test_an_override_is_seen() -> None:
    found = thermalservice.parse(samples.THERMAL.replace("IsStatusOverride: false", "IsStatusOverride: true"))
    assert not isinstance(found, Absent) and found.overridden


@pytest.mark.parametrize(("text", "volts"), [("3911000\n", 3.911), ("3911", 3.911), ("7822000", 7.822)])
def test_a_voltage_tells_its_unit(text: str, volts: float) -> None:
    assert powersupply.volts(text) == pytest.approx(volts)


@pytest.mark.parametrize("text", ["0", "100000", "-3911000", "39.11"])
def test_a_voltage_that_is_none(text: str) -> None:
    assert isinstance(powersupply.volts(text), Absent)


@given(st.integers(-50_000_000, 50_000_000))
def test_a_current_is_kept_as_it_stands(value: int) -> None:
    assert powersupply.current(f"{value}\n") == value


def test_rails_mean_something_by_difference_only() -> None:
    first, last = (
        odpm.parse(samples.ODPM),
        odpm.parse(samples.ODPM.replace("2000500", "2001000").replace("7500000", "8500000")),
    )
    assert not isinstance(first, Absent) and not isinstance(last, Absent)
    assert first.joules == {"VSYS_DISPLAY": 5.0, "VDD_CPU": 7.5} and first.at_seconds == 2000.5
    assert odpm.watts(first, last) == pytest.approx(2.0)
    assert isinstance(odpm.watts(last, first), Absent)
    assert isinstance(odpm.watts(first, odpm.Rails(3000.0, {"VDD_CPU": 9.0})), Absent), "a rail is missing"


@pytest.mark.parametrize("cut", [20, 40, len(samples.ODPM) - 3])
def test_a_cut_list_of_rails_is_none(cut: int) -> None:
    found = odpm.parse(samples.ODPM[:cut])
    assert isinstance(found, Absent) or cut == len(samples.ODPM) - 3, "a number cut short is the caller's to see"


def test_pss_swap_and_rss_are_three_things() -> None:
    assert memory.rollup(samples.ROLLUP) == memory.ProcessMemory(10240 * 1024, 20480 * 1024, 512 * 1024)
    assert memory.dumped(samples.MEMINFO_OF_PROCESS) == memory.ProcessMemory(2000 * 1024, 9000 * 1024, 1000 * 1024)
    assert memory.total_bytes(samples.MEMINFO) == 7812345 * 1024


def test_clusters_are_read_and_not_assumed() -> None:
    found = cpufreq.clusters(samples.CPUFREQ)
    assert not isinstance(found, Absent)
    assert [(each.cpus, each.max_hertz) for each in found] == [
        ((0, 1, 2, 3), 1_800_000_000),
        ((4, 5, 6), 2_400_000_000),
        ((7,), 3_000_000_000),
    ]


def test_one_cpu_that_does_not_tell_leaves_all_unknown() -> None:
    denied = samples.CPUFREQ.replace("cpu7 3000000", "cpu7 cat: cpuinfo_max_freq: Permission denied")
    found = cpufreq.clusters(denied)
    assert isinstance(found, Absent) and "Permission denied" in found.why


def test_a_list_of_devices_with_chatter_and_a_state_of_two_words() -> None:
    found = devicelist.parse(samples.DEVICES)
    assert not isinstance(found, Absent)
    assert [(each.serial, each.state) for each in found] == [
        ("ABCDEF0123", "device"),
        ("10.1.2.3:5555", "offline"),
        ("FEDCBA3210", "no permissions"),
    ]
    assert found[0].details["model"] == "Rocket_9" and found[2].details["usb"] == "1-5"


def test_rows_of_perfetto() -> None:
    assert perfetto.rows(samples.PERFETTO) == (
        perfetto.Row(1.5, "batt.current_ua", -250000),
        perfetto.Row(1.6, "batt.charge_uah", 2085000),
    )
