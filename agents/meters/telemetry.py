"""Samples the host's meters while a measurement runs, and sums them up as ``farm.types.Telemetry``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from agents.meters import cpu, frequency, thermal
from farm.types import DeviceReadings, Telemetry

PERIOD_SECONDS = 0.25


class HostTelemetry:
    """One window of readings. Call ``sample`` every ``PERIOD_SECONDS``, then ``summary`` once."""

    def __init__(self, pid: int, cpus: Sequence[int], cpu_count: int) -> None:
        self._pid, self._cpus, self._cpu_count = pid, cpus, cpu_count
        self._first: tuple[cpu.CpuTimes, float] | None = None
        self._last: tuple[cpu.CpuTimes, float] | None = None
        self._frequencies: list[frequency.Frequency] = []
        self._temperatures_celsius: list[float] = []
        self._absent: dict[str, str] = {}
        self.sample()

    def sample(self) -> None:
        try:
            reading = cpu.read_cpu_times(), cpu.read_process_seconds(self._pid)
            self._first, self._last = self._first or reading, reading
        except ProcessLookupError:
            return
        except FileNotFoundError:
            return  # the process has ended; its last reading stands
        except (OSError, ValueError) as error:
            self._absent["background_cpu_ratio"] = self._absent["steal_ratio"] = str(error)
        if "cpu_frequency" not in self._absent:
            try:
                self._frequencies.append(frequency.read_frequency(self._cpus))
            except frequency.FrequencyUnreadable as error:
                self._absent["cpu_frequency"] = str(error)
        if "temperature" not in self._absent:
            try:
                self._temperatures_celsius.append(thermal.read_temperature_celsius())
            except thermal.TemperatureUnreadable as error:
                self._absent["temperature"] = str(error)

    def summary(self) -> Telemetry:
        background_ratio, steal_ratio = self._cpu_ratios()
        clocks = [reading.current_hertz for reading in self._frequencies]
        temperatures = self._temperatures_celsius
        return Telemetry(
            background_cpu_ratio=background_ratio,
            steal_ratio=steal_ratio,
            cpu_frequency_hertz_min=min(clocks, default=None),
            cpu_frequency_hertz_max=max(clocks, default=None),
            cpu_frequency_limit_hertz=min((reading.limit_hertz for reading in self._frequencies), default=None),
            cpu_frequency_maximum_hertz=min((reading.maximum_hertz for reading in self._frequencies), default=None),
            temperature_start_celsius=temperatures[0] if temperatures else None,
            temperature_max_celsius=max(temperatures, default=None),
            absent=self._absent,
        )

    def _cpu_ratios(self) -> tuple[float | None, float | None]:
        """Shares of the machine's CPU time that went to other processes, and to other virtual machines."""
        if self._first is None or self._last is None or "steal_ratio" in self._absent:
            self._absent.setdefault("background_cpu_ratio", "the measurement ended before a second reading")
            self._absent.setdefault("steal_ratio", self._absent["background_cpu_ratio"])
            return None, None
        (first, own_first), (last, own_last) = self._first, self._last
        capacity_seconds = (last.at_seconds - first.at_seconds) * self._cpu_count
        if capacity_seconds <= 0:
            self._absent["background_cpu_ratio"] = self._absent["steal_ratio"] = (
                "the measurement ended before a second reading"
            )
            return None, None
        busy_seconds = last.busy_seconds - first.busy_seconds - (own_last - own_first)
        steal_seconds = last.steal_seconds - first.steal_seconds
        return max(0.0, busy_seconds / capacity_seconds), max(0.0, steal_seconds / capacity_seconds)


def current(cpus: Sequence[int]) -> DeviceReadings | None:
    """How this machine is now; None where it shows neither frequency nor temperature."""
    temperatures: dict[str, float] = {}
    frequencies: dict[str, float] = {}
    with suppress(thermal.TemperatureUnreadable):
        temperatures["cpu"] = thermal.read_temperature_celsius()
    with suppress(frequency.FrequencyUnreadable):
        frequencies[f"{cpus[0]}-{cpus[-1]}"] = frequency.read_frequency(cpus).current_hertz
    if not temperatures and not frequencies:
        return None
    return DeviceReadings(temperatures_celsius=temperatures, cpu_hertz=frequencies)
