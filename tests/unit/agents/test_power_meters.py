"""External power meters: with stand-ins at their libraries' border, readings as the libraries give them."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.android.phone import Output
from agents.meters import catalogue, joulescope, monsoon
from farm.config import PowerMeterSetting
from farm.errors import ConfigError, DeviceError

RATE = 2_000_000


def report(first: int, watts: float, samples: int = 100_000, **changes: Any) -> dict[str, Any]:
    return {
        "time": {
            "samples": {"value": [first, first + samples], "units": "samples"},
            "delta": {"value": samples / RATE, "units": "s"},
        },
        "signals": {"power": {"avg": {"value": watts, "units": "W"}}},
    } | changes


class Instrument:
    """A Joulescope as its library shows it: reports come in a thread of its own."""

    device_serial_number = "000123"

    def __init__(self, reports: list[dict[str, Any]]) -> None:
        self.reports, self.said = reports, list[tuple[Any, ...]]()

    def open(self) -> None:
        self.said.append(("open",))

    def parameter_set(self, name: str, value: str) -> None:
        self.said.append((name, value))

    def statistics_callback_register(self, callback: Any, source: str) -> None:
        def run() -> None:
            for each in self.reports:
                callback(each)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def statistics_callback_unregister(self, callback: Any, source: str) -> None:
        self.thread.join()


def library(monkeypatch: pytest.MonkeyPatch, devices: list[Instrument]) -> None:
    module = ModuleType("joulescope")
    module.scan = lambda config: devices  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joulescope", module)


def recorded(monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]]) -> Any:
    library(monkeypatch, [Instrument(reports)])
    meter = joulescope.open_meter(PowerMeterSetting(kind="joulescope", serial="000123"))
    meter.start()
    return meter.stop()


def test_a_joulescope_s_means_become_a_series(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.monotonic()
    series = recorded(monkeypatch, [report(100_000 * number, 1.0 + number) for number in range(4)])
    assert series.watts == (1.0, 2.0, 3.0, 4.0)
    assert series.source == "Joulescope 000123"
    steps = [b - a for a, b in zip(series.seconds, series.seconds[1:], strict=False)]
    assert steps == pytest.approx([0.05] * 4)
    assert series.seconds[-1] <= time.monotonic()
    assert series.seconds[0] >= before - 0.21  # all four came at once: the last one ended by now at the latest


@pytest.mark.parametrize(
    ("reports", "said"),
    [
        ([report(0, 1.0), report(200_000, 1.0)], "lost readings"),
        ([report(0, float("nan"))], "not understood"),
        ([report(0, 1.0, signals={})], "not understood"),
        ([report(0, 1.0, signals={"power": {"avg": {"value": 1, "units": "mW"}}})], "not understood"),
        ([report(0, 1.0, samples=0)], "not understood"),
    ],
)
def test_gaps_and_other_units_are_no_series(
    monkeypatch: pytest.MonkeyPatch, reports: list[dict[str, Any]], said: str
) -> None:
    with pytest.raises(DeviceError, match=said):
        recorded(monkeypatch, reports)


def test_which_joulescope_must_be_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, [])
    with pytest.raises(DeviceError, match="there are 0"):
        joulescope.open_meter(PowerMeterSetting(kind="joulescope"))
    library(monkeypatch, [Instrument([]), Instrument([])])
    with pytest.raises(DeviceError, match="there are 2"):
        joulescope.open_meter(PowerMeterSetting(kind="joulescope"))
    with pytest.raises(ConfigError, match="no supply"):
        joulescope.open_meter(PowerMeterSetting(kind="joulescope", volts=4.2))


class Engine:
    """PyMonsoon's SampleEngine: ``startSampling`` blocks until the stop trigger says so."""

    def __init__(self, monitor: Any, errorMode: int, dropped: int = 0) -> None:
        assert errorMode == 0
        self.dropped, self.count = dropped, 0

    def ConsoleOutput(self, on: bool) -> None: ...
    def setTriggerChannel(self, channel: int) -> None: ...
    def setStartTrigger(self, style: Any, level: float) -> None:
        self.starts = style

    def setStopTrigger(self, style: Any, level: float) -> None:
        self.stops = style

    def startSampling(self, samples: int) -> None:
        self.starts(0.0, 0)
        while not self.stops(0.0, 0):
            self.count += 500
            time.sleep(0.02)

    def getSamples(self) -> list[list[float]]:
        times = [number / 5000 for number in range(self.count)]
        return [times, [250.0] * self.count, [], [], [4.0] * self.count, []]


def test_a_monsoon_records_in_a_thread_with_usb_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    monitor = SimpleNamespace(
        setup_usb=lambda serial: None,
        fillStatusPacket=lambda: None,
        setVout=modes.append,
        setUSBPassthroughMode=modes.append,
    )
    engine_module = SimpleNamespace(
        SampleEngine=Engine,
        ErrorHandlingModes=SimpleNamespace(off=0),
        channels=SimpleNamespace(timeStamp=0),
        triggers=SimpleNamespace(SAMPLECOUNT_INFINITE=0xFFFFFFFF),
    )
    package = ModuleType("Monsoon")
    package.HVPM = SimpleNamespace(Monsoon=lambda: monitor)  # type: ignore[attr-defined]
    package.sampleEngine = engine_module  # type: ignore[attr-defined]
    operations = ModuleType("Monsoon.Operations")
    operations.USB_Passthrough = SimpleNamespace(Off=0, On=1, Auto=2)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "Monsoon", package)
    monkeypatch.setitem(sys.modules, "Monsoon.Operations", operations)

    meter = monsoon.open_meter(PowerMeterSetting(kind="monsoon", serial="23400", volts=4.0))
    begun = time.monotonic()
    meter.start()
    time.sleep(0.1)
    series = meter.stop()
    assert modes == [4.0, 0, 2]  # the supply, then VBUS off while it records
    assert set(series.watts) == {1.0}
    assert series.seconds[0] == pytest.approx(begun, abs=0.05)
    with pytest.raises(DeviceError, match="was not recording"):
        meter.stop()
    with pytest.raises(ConfigError, match="serial is a number"):
        monsoon.open_meter(PowerMeterSetting(kind="monsoon", serial="x"))


@pytest.mark.parametrize(
    ("times", "currents", "volts", "dropped"),
    [
        ([0.0, 0.0002], [1.0, 1.0], [4.0, 4.0], 3),
        ([0.0, 0.0002], [1.0, 1.0], [4.0], 0),
        ([], [], [], 0),
        ([number / 4000 for number in range(6000)], [1.0] * 6000, [4.0] * 6000, 0),
    ],
)
def test_lost_readings_of_a_monsoon_are_no_series(
    times: list[float], currents: list[float], volts: list[float], dropped: int
) -> None:
    with pytest.raises(DeviceError, match=r"readings|a reading every"):
        monsoon.series_of("Monsoon", 10.0, times, currents, volts, dropped)


def test_kinds_without_their_library_or_unknown_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(name="monsoon", load=lambda: monsoon.open_meter)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry])
    monkeypatch.setitem(sys.modules, "Monsoon", None)  # not installed
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        catalogue.open_meter(PowerMeterSetting(kind="monsoon"))
    assert "torchfarm[monsoon]" in caught.value.remedy
    with pytest.raises(ConfigError, match="no power meter of kind"):
        catalogue.open_meter(PowerMeterSetting(kind="other"))


@given(
    offset=st.floats(-1e6, 1e6),
    there=st.floats(0, 1),
    round_trip=st.floats(0, 2),
    before=st.floats(0, 1e6),
)
def test_the_true_offset_of_the_clocks_lies_within_the_uncertainty(
    offset: float, there: float, round_trip: float, before: float
) -> None:
    looked = before + there * round_trip
    uptime = int((looked + offset + 2e6) * 100) / 100  # /proc/uptime cuts off
    found = catalogue.of_round_trip(before, before + round_trip, f"{uptime:.2f} 1.00\n")
    assert abs(found.seconds - (offset + 2e6)) <= found.uncertainty_seconds + 1e-6
    assert found.uncertainty_seconds <= round_trip / 2 + 0.0051


def test_the_quickest_round_trip_counts() -> None:
    class Phone:
        calls = 0

        async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output:
            self.calls += 1
            await asyncio.sleep(0.0 if self.calls == 3 else 0.05)
            return Output(f"{time.monotonic() + 100:.2f} 1.00\n", "", 0, 0.0)

    found = asyncio.run(catalogue.clock_offset(Phone()))  # type: ignore[arg-type]
    assert found.uncertainty_seconds < 0.02
    assert found.seconds == pytest.approx(100, abs=0.03)
    with pytest.raises(DeviceError, match="uptime"):
        catalogue.of_round_trip(0, 1, "Permission denied")
