"""Monsoon's high voltage power monitor (HVPM), by PyMonsoon (extra ``monsoon``): supply and meter in one, 5 kHz.

The library's ``SampleEngine`` blocks while it samples, so it runs in a thread that a trigger ends. Its error mode is
off: otherwise it starts anew by itself when USB drops out, and the gap would not show.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from agents.meters import external
from farm.config import PowerMeterSetting
from farm.errors import ConfigError, DeviceError
from farm.types import PowerSeries

RATE_HERTZ = 5000.0
_RATE_TOLERANCE_RATIO = 0.02  # calibration takes some of the slots
_START_SECONDS = 10.0  # it calibrates itself first
_STOP_SECONDS = 10.0


def open_meter(setting: PowerMeterSetting) -> MonsoonMeter:
    """Raises ImportError without the library, ConfigError, DeviceError where there is no such meter."""
    from Monsoon import HVPM, sampleEngine

    if setting.serial is not None and not setting.serial.isdigit():
        raise ConfigError(f"A Monsoon's serial is a number, not {setting.serial!r}.", remedy="It is on its back.")
    monitor = HVPM.Monsoon()
    try:
        monitor.setup_usb(int(setting.serial) if setting.serial else None)
        monitor.fillStatusPacket()
        if setting.volts is not None:
            monitor.setVout(setting.volts)
    except Exception as error:  # the library raises whatever USB does
        raise DeviceError(
            f"The Monsoon {setting.serial or ''} cannot be used: {error!r}.",
            remedy="Is it on, attached here by USB, and may the agent's user open it (udev)?",
        ) from error
    engine = sampleEngine.SampleEngine(monitor, errorMode=sampleEngine.ErrorHandlingModes.off)
    return MonsoonMeter(monitor, engine, sampleEngine, f"Monsoon HVPM {setting.serial or ''}".strip())


class MonsoonMeter:
    """``monitor``, ``engine``, ``library``: of PyMonsoon."""

    def __init__(self, monitor: Any, engine: Any, library: Any, name: str) -> None:
        self._monitor, self._engine, self._library = monitor, engine, library
        self._name = name
        self._done, self._begun = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._wall_offset_seconds = self._started_wall_seconds = 0.0

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        from Monsoon.Operations import USB_Passthrough

        if self._thread is not None:
            raise DeviceError(f"{self._name} records already.", remedy="Two attempts must not share a meter.")
        self._done.clear()
        self._begun.clear()
        self._error = None
        # VBUS off: what the phone took from USB would not go through the meter.
        self._monitor.setUSBPassthroughMode(USB_Passthrough.Off)
        channels = self._library.channels
        self._engine.ConsoleOutput(False)
        self._engine.setTriggerChannel(channels.timeStamp)
        self._engine.setStartTrigger(self._starts, 0)
        self._engine.setStopTrigger(self._stops, 0)
        self._wall_offset_seconds = time.time() - time.monotonic()
        self._thread = threading.Thread(target=self._sample, name="monsoon", daemon=True)
        self._thread.start()
        if not self._begun.wait(_START_SECONDS):
            self.close()
            raise DeviceError(
                f"{self._name} gave no reading in {_START_SECONDS:g} s: {self._error or 'it does not calibrate'}.",
                remedy="Turn it off and on, and look at its USB cable.",
            )

    def stop(self) -> PowerSeries:
        thread = self._thread
        if thread is None:
            raise DeviceError(f"{self._name} was not recording.", remedy="Report this bug.")
        self.close()
        if thread.is_alive():
            raise DeviceError(f"{self._name} does not stop.", remedy="Turn it off and on.")
        if self._error:
            raise DeviceError(
                f"{self._name} failed while it recorded: {self._error!r}.", remedy="Look at its USB cable."
            ) from self._error
        times, main_milliamperes, _, _, volts, *_ = self._engine.getSamples()
        return series_of(self._name, self._epoch_seconds(), times, main_milliamperes, volts, int(self._engine.dropped))

    def close(self) -> None:
        """End the recording, and let USB through again."""
        from Monsoon.Operations import USB_Passthrough

        self._done.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
            self._thread = None
        self._monitor.setUSBPassthroughMode(USB_Passthrough.Auto)

    def _epoch_seconds(self) -> float:
        """The engine's times count from its own start, which it took by the wall clock as the thread began."""
        return self._started_wall_seconds - self._wall_offset_seconds

    def _sample(self) -> None:
        self._started_wall_seconds = time.time()
        try:
            self._engine.startSampling(self._library.triggers.SAMPLECOUNT_INFINITE)
        except Exception as error:  # noqa: BLE001 - the library raises whatever USB does; ``stop`` tells
            self._error = error

    def _starts(self, _value: float, _level: float) -> bool:
        self._begun.set()
        return True

    def _stops(self, _value: float, _level: float) -> bool:
        return self._done.is_set()


def series_of(
    name: str,
    start_seconds: float,
    times_seconds: Sequence[float],
    milliamperes: Sequence[float],
    volts: Sequence[float],
    dropped: int,
) -> PowerSeries:
    """``times_seconds`` from ``start_seconds`` on; one a packet, so only the first and the last tell the rate.

    Raises DeviceError where readings are missing.
    """
    count = len(milliamperes)
    if dropped or count != len(volts) or count != len(times_seconds) or count < 2:
        raise DeviceError(
            f"{name} lost readings: {dropped} dropped; {count} currents, {len(volts)} voltages, {len(times_seconds)} "
            "times.",
            remedy="Attach it to a USB port of its own, and keep other work off the agent's machine.",
        )
    period_seconds = (times_seconds[-1] - times_seconds[0]) / (count - 1)
    if abs(period_seconds * RATE_HERTZ - 1) > _RATE_TOLERANCE_RATIO and count > RATE_HERTZ:
        raise DeviceError(
            f"{name} gave a reading every {period_seconds * 1e6:.1f} µs; 200 are between those of an HVPM.",
            remedy="Attach it to a USB port of its own, and keep other work off the agent's machine.",
        )
    watts = [current / 1000 * voltage for current, voltage in zip(milliamperes, volts, strict=True)]
    return external.series(name, start_seconds + times_seconds[0], 1 / RATE_HERTZ, watts)
