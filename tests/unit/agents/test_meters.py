"""What the host's meters read from proc and sysfs, and what they say where there is nothing to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.meters import cpu, frequency, thermal
from agents.meters.telemetry import HostTelemetry

TICKS = os.sysconf("SC_CLK_TCK")


@given(st.lists(st.integers(0, 10**12), min_size=8, max_size=10))
def test_busy_time_is_all_but_idle_waiting_and_stolen(fields: list[int]) -> None:
    times = cpu.parse_cpu_times("cpu  " + " ".join(map(str, fields)) + "\ncpu0 1 2 3\n", at_seconds=5.0)
    user, nice, system, _, _, irq, softirq, steal = fields[:8]
    assert times.busy_seconds == (user + nice + system + irq + softirq) / TICKS
    assert times.steal_seconds == steal / TICKS


@pytest.mark.parametrize("text", ["", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu a b c d e f g h"])
def test_a_stat_file_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cpu.parse_cpu_times(text, 0.0)


def test_the_time_of_a_process_whose_name_looks_like_fields() -> None:
    text = "42 (a) b (c) R 1 42 42 0 -1 4194304 100 0 0 0 150 50 20 10 20 0 1 0 12345 1000 10"
    assert cpu.parse_process_seconds(text) == (150 + 50 + 20 + 10) / TICKS


def test_the_time_of_this_process_grows_with_its_work() -> None:
    before = cpu.read_process_seconds(os.getpid())
    while cpu.read_process_seconds(os.getpid()) < before + 3 / TICKS:
        sum(range(10_000))
    assert cpu.read_cpu_times().busy_seconds > 0


def cpufreq(folder: Path, number: int, current: int, limit: int, maximum: int) -> None:
    files = folder / f"cpu{number}" / "cpufreq"
    files.mkdir(parents=True)
    for name, value in (("scaling_cur_freq", current), ("scaling_max_freq", limit), ("cpuinfo_max_freq", maximum)):
        (files / name).write_text(f"{value}\n")


def test_the_frequency_is_that_of_the_slowest_cpu_asked_for(tmp_path: Path) -> None:
    cpufreq(tmp_path, 0, 800_000, 1_800_000, 1_800_000)
    cpufreq(tmp_path, 1, 3_000_000, 3_200_000, 3_200_000)
    assert frequency.read_frequency([1], tmp_path).current_hertz == 3.0e9
    assert frequency.read_frequency([0, 1], tmp_path) == frequency.Frequency(0.8e9, 1.8e9, 1.8e9)


def test_a_frequency_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(frequency.FrequencyUnreadable, match="no cpufreq driver"):
        frequency.read_frequency([0], tmp_path)
    cpufreq(tmp_path, 0, 1, 1, 1)
    (tmp_path / "cpu0/cpufreq/scaling_cur_freq").write_text("<unknown>\n")
    with pytest.raises(frequency.FrequencyUnreadable, match="cannot be read"):
        frequency.read_frequency([0], tmp_path)


def test_the_temperature_is_that_of_the_hottest_cpu_sensor(tmp_path: Path) -> None:
    for name, kind, value in (("0", "x86_pkg_temp", 61_500), ("1", "iwlwifi_1", 90_000)):
        zone = tmp_path / "thermal" / f"thermal_zone{name}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind)
        (zone / "temp").write_text(str(value))
    chip = tmp_path / "hwmon" / "hwmon3"
    chip.mkdir(parents=True)
    (chip / "name").write_text("k10temp\n")
    (chip / "temp1_input").write_text("64250\n")
    assert thermal.read_temperature_celsius(tmp_path) == 64.25


def test_a_machine_without_sensors_says_so(tmp_path: Path) -> None:
    with pytest.raises(thermal.TemperatureUnreadable, match="no CPU thermal zone"):
        thermal.read_temperature_celsius(tmp_path)


def test_load_of_others_is_told_apart_from_the_measurements_own() -> None:
    telemetry = HostTelemetry(os.getpid(), [0], os.cpu_count() or 1)
    start = cpu.read_process_seconds(os.getpid())
    while cpu.read_process_seconds(os.getpid()) < start + 0.3:
        sum(range(10_000))
    telemetry.sample()
    summary = telemetry.summary()
    assert summary.background_cpu_ratio is not None
    assert summary.background_cpu_ratio < 0.9, "the own work is not counted as background"
    for field in ("cpu_frequency_hertz_min", "temperature_max_celsius"):
        reason = "cpu_frequency" if "frequency" in field else "temperature"
        assert (getattr(summary, field) is None) == (reason in summary.absent), "absent exactly with a reason"
