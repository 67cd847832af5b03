"""Power of a phone over time, from what the sampler read; or why none of it can be believed. Pure.

Of the sources that a phone has the best is taken: the rails' own power monitors (they tell what is used, whoever feeds
the phone), the battery's current times its voltage, the fall of its charge counter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from agents.android.calibration import MAX_WATTS, MIN_WATTS, Calibration
from agents.android.parsers import odpm, powersupply
from agents.android.parsers.absent import Absent
from agents.android.parsers.battery import charging
from agents.android.samples import AFTER, BEFORE, Samples, clock_offset_seconds
from agents.meters.beside import Recorded
from agents.meters.external import on_device_clock
from farm.types import PowerRecord, PowerSeries, Span

EMULATOR = "not measurable: an emulator has no battery of its own"
MAX_DISAGREEMENT_RATIO = 0.20  # between current and charge counter
# The coarsest step of a charge counter that was seen: Samsung's 0.1 % of 5 Ah. Holds until a phone's own step is seen.
_COARSEST_STEP_COULOMBS = 18.0
MAX_CLOCK_SECONDS = 0.5  # of uncertainty, of a meter beside the phone
_SETTLE_SECONDS = 2.0  # after a change of phase: governors and the screen's last frame


def record(
    samples: Samples, records: Sequence[Mapping[str, Any]], calibration: Calibration | Absent, *, emulator: bool
) -> PowerRecord | Absent:
    """``records``: the harness's. ``calibration``: of this device, or why there is none."""
    if emulator:
        return Absent(EMULATOR)
    spans = spans_of(samples, records)
    if isinstance(spans, Absent):
        return spans
    before, measured, after, offset_seconds = spans
    series = _series(samples, Span(start_seconds=before.start_seconds, end_seconds=after.end_seconds), calibration)
    if isinstance(series, Absent):
        return series
    return PowerRecord(
        series=series.model_copy(update={"seconds": tuple(at + offset_seconds for at in series.seconds)}),
        idle_before=_shifted(before, offset_seconds),
        measured=_shifted(measured, offset_seconds),
        idle_after=_shifted(after, offset_seconds),
    )


def external(recorded: Recorded, samples: Samples, records: Sequence[Mapping[str, Any]]) -> PowerRecord | Absent:
    """With a meter beside the phone."""
    if recorded.uncertainty_seconds > MAX_CLOCK_SECONDS:
        return Absent(
            f"the phone's clock is known to {recorded.uncertainty_seconds:.2g} s only, {MAX_CLOCK_SECONDS:g} s are the "
            "limit: see the link to the phone"
        )
    spans = spans_of(samples, records)
    if isinstance(spans, Absent):
        return spans
    before, measured, after, offset_seconds = spans
    return PowerRecord(
        series=on_device_clock(recorded.series, offset_seconds),
        idle_before=_shifted(before, offset_seconds),
        measured=_shifted(measured, offset_seconds),
        idle_after=_shifted(after, offset_seconds),
        clock_uncertainty_seconds=recorded.uncertainty_seconds,
    )


def spans_of(samples: Samples, records: Sequence[Mapping[str, Any]]) -> tuple[Span, Span, Span, float] | Absent:
    """At rest, measured, at rest, on the phone's uptime; and CLOCK_MONOTONIC minus that."""
    offset_seconds = clock_offset_seconds(records)
    if isinstance(offset_seconds, Absent):
        return offset_seconds
    idle = []
    for phase in (BEFORE, AFTER):
        found = samples.span(phase)
        if isinstance(found, Absent):
            return found
        if found.seconds <= 2 * _SETTLE_SECONDS:
            return Absent(f"the phone rested for {found.seconds:.0f} s only; the protocol's idle_seconds says how long")
        start = found.start_seconds + _SETTLE_SECONDS
        idle.append(Span(start_seconds=start, end_seconds=found.end_seconds))
    measured = measured_span(records)
    if isinstance(measured, Absent):
        return measured
    return idle[0], _shifted(measured, -offset_seconds), idle[1], offset_seconds


def measured_span(records: Sequence[Mapping[str, Any]]) -> Span | Absent:
    """From the end of the warm-up to the end of the measured phase, on CLOCK_MONOTONIC: what lies between is the
    inferences that count, and nothing else."""
    start = [each["monotonic_seconds"] for each in records if each.get("kind") in ("cpus_allowed", "warmup")]
    end = [each["monotonic_seconds"] for each in records if each.get("kind") == "stop"]
    if not start or not end or end[0] <= start[-1]:
        return Absent("the harness's records do not tell when the measured phase was")
    return Span(start_seconds=start[-1], end_seconds=end[0])


def _series(samples: Samples, span: Span, calibration: Calibration | Absent) -> PowerSeries | Absent:
    if samples.rails:
        return _of_rails(samples)
    for at, state in samples.batteries:
        if why := charging(state):
            return Absent(f"{why}, {at - span.start_seconds:.0f} s into the measurement")
    if not samples.batteries:
        return Absent("dumpsys battery: no state that tells whether the phone is fed")
    counted = _of_counter(samples, span)
    if {"i", "v"} <= set(samples.keys):
        measured = calibration if isinstance(calibration, Absent) else _of_current(samples, span, calibration)
        if not isinstance(measured, Absent) or not isinstance(calibration, Absent):
            return measured
        if isinstance(counted, Absent):
            return measured
    return counted


def _of_rails(samples: Samples) -> PowerSeries | Absent:
    """The sum over all monitors, which are read one after the other."""
    rounds = list(zip(*samples.rails.values(), strict=False))
    if len({len(rails) for rails in samples.rails.values()}) > 1 or len(rounds) < 2:
        return Absent("energy_value: readings of some monitors are missing")
    watts = []
    for earlier, later in pairwise(rounds):
        powers = [odpm.watts(first, last) for first, last in zip(earlier, later, strict=True)]
        if why := next((power for power in powers if isinstance(power, Absent)), None):
            return why
        watts.append(sum(power for power in powers if not isinstance(power, Absent)))
    names = sum(len(rails.joules) for rails in rounds[0])
    return _steps("odpm", f"energy_value of {names} rails", [rails[0].at_seconds for rails in rounds], watts)


def _of_current(samples: Samples, span: Span, calibration: Calibration) -> PowerSeries | Absent:
    for key, name in (("i", "current_now"), ("v", "voltage_now")):
        if failed := samples.covered(key, span, name):
            return failed
    times: list[float] = []
    watts: list[float] = []
    coulombs = 0.0
    for tick in samples.within(span):
        current = powersupply.current(tick.values.get("i", ""))
        volts = powersupply.volts(tick.values.get("v", ""))
        if isinstance(current, Absent) or isinstance(volts, Absent):
            continue
        amperes = calibration.amperes_out(current)
        if times:
            coulombs += amperes * (tick.at_seconds - times[-1])
        times.append(tick.at_seconds)
        watts.append(amperes * volts)
    if len(times) < 2:
        return Absent("current_now and voltage_now hold no numbers")
    mean = sum(watts) / len(watts)
    if not MIN_WATTS <= mean <= MAX_WATTS:
        return Absent(
            f"the phone would take {mean:.3g} W, which none does: the calibration of its current no longer fits"
        )
    if disagreement := _disagreement(samples, Span(start_seconds=times[0], end_seconds=times[-1]), coulombs):
        return Absent(disagreement)
    return _steps("battery-current", "current_now x voltage_now of the battery", times, watts[:-1])


def _counter(samples: Samples, span: Span) -> list[tuple[float, float, float]]:
    """(when, coulombs, volts) of the charge counter: its file, or the battery service where shell may not read that."""
    if "q" in samples.keys:
        found = []
        for tick in samples.within(span):
            coulombs = powersupply.charge_coulombs(tick.values.get("q", ""))
            volts = powersupply.volts(tick.values.get("v", ""))
            if not isinstance(coulombs, Absent) and not isinstance(volts, Absent):
                found.append((tick.at_seconds, coulombs, volts))
        return found
    return [
        (at, state.charge_coulombs, state.volts)
        for at, state in samples.batteries
        if span.start_seconds <= at <= span.end_seconds
        and state.charge_coulombs is not None
        and state.volts is not None
    ]


def _disagreement(samples: Samples, span: Span, coulombs: float) -> str | None:
    """The fall of the counter is known to one of its steps, so that is left out of account; the rest must agree."""
    readings = _counter(samples, span)
    if len(readings) < 2:
        return None  # this phone has no counter to ask
    seconds = readings[-1][0] - readings[0][0]
    expected = coulombs * seconds / span.seconds
    fallen = readings[0][1] - readings[-1][1]
    steps = [abs(later[1] - earlier[1]) for earlier, later in pairwise(readings) if later[1] != earlier[1]]
    step = min(steps, default=_COARSEST_STEP_COULOMBS)
    if abs(expected - fallen) <= MAX_DISAGREEMENT_RATIO * abs(expected) + step:
        return None
    if fallen <= 0:
        return f"the charge counter did not fall while {expected:.0f} C should have left the battery: is it fed?"
    return (
        f"the current says {expected:.0f} C, the charge counter {fallen:.0f} C: they differ by more than "
        f"{MAX_DISAGREEMENT_RATIO:.0%}, so sign, unit or gauge is wrong"
    )


def _of_counter(samples: Samples, span: Span) -> PowerSeries | Absent:
    """Power between two steps of the counter; before the first and after the last one nothing is known."""
    readings = _counter(samples, span)
    if "q" in samples.keys and (failed := samples.covered("q", span, "charge_counter")):
        return failed
    stepped = [later for earlier, later in pairwise(readings) if later[1] != earlier[1]]
    if len(stepped) < 2:
        return Absent(f"not resolvable: the charge counter moved {len(stepped)} times in {span.seconds:.0f} s")
    if any(later[1] > earlier[1] for earlier, later in pairwise(stepped)):
        return Absent("the charge counter rose: is the phone fed?")
    watts = [
        (earlier[1] - later[1]) * (earlier[2] + later[2]) / 2 / (later[0] - earlier[0])
        for earlier, later in pairwise(stepped)
    ]
    return _steps("charge-counter", "charge counter x voltage of the battery", [at for at, *_ in stepped], watts)


def _steps(method: Any, source: str, times: Sequence[float], watts: Sequence[float]) -> PowerSeries | Absent:
    """Readings that share a time (the clock has hundredths) are one: the later one's power is kept."""
    seconds, powers = list(times[:1]), []
    for at, power in zip(times[1:], watts, strict=True):
        if at > seconds[-1]:
            seconds.append(at)
            powers.append(power)
    if not powers:
        return Absent(f"{source}: all readings are of one moment")
    return PowerSeries(method=method, source=source, seconds=tuple(seconds), watts=tuple(powers))


def _shifted(span: Span, seconds: float) -> Span:
    return Span(start_seconds=span.start_seconds + seconds, end_seconds=span.end_seconds + seconds)
