"""What the sampler on the phone wrote (``agents.android.sampling``), read back: whole records, or none. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from agents.android.parsers import battery, odpm, thermalservice
from agents.android.parsers.absent import Absent, integer, number
from agents.android.parsers.battery import Battery
from agents.android.parsers.thermalservice import Thermal
from agents.android.sampling import Plan
from farm.types import Span, Telemetry

MIN_COVERAGE_RATIO = 0.95  # of a meter's readings; below it, the meter has failed
BEFORE, RUNNING, AFTER = 0, 1, 2
_LONGEST_SLEEP_SECONDS = 0.1  # of the phone: what two alignments of the clocks may differ by
_STALE_SECONDS = 60.0  # so long no sensor stays the same to the last digit under load
_TICKS_PER_SECOND = 100  # USER_HZ: fixed on all of Android's architectures

T = TypeVar("T")


@dataclass(frozen=True)
class Tick:
    """One moment. ``values``: what could be read then, by the key of its source."""

    at_seconds: float
    phase: int
    values: Mapping[str, str]


@dataclass(frozen=True)
class Samples:
    """All times are of ``/proc/uptime``. ``lost``: records that are missing or garbled."""

    period_seconds: float
    keys: tuple[str, ...]
    ticks: tuple[Tick, ...]
    batteries: tuple[tuple[float, Battery], ...]
    thermals: tuple[tuple[float, Thermal], ...]
    rails: Mapping[int, tuple[odpm.Rails, ...]]
    spent: tuple[tuple[float, float], ...]  # when, and CPU seconds of the sampler until then
    lost: int
    ended: bool

    def span(self, phase: int) -> Span | Absent:
        times = [tick.at_seconds for tick in self.ticks if tick.phase == phase]
        if len(times) < 2:
            return Absent(f"the sampler saw nothing {('before', 'of', 'after')[phase]} the measurement")
        return Span(start_seconds=times[0], end_seconds=times[-1])

    def within(self, span: Span) -> tuple[Tick, ...]:
        return tuple(tick for tick in self.ticks if span.start_seconds <= tick.at_seconds <= span.end_seconds)

    def coverage_ratio(self, key: str, span: Span) -> float:
        """How much of a span has readings of a source: of its ticks, or of its time where ticks are missing."""
        ticks = self.within(span)
        if not ticks:
            return 0.0
        edges = [span.start_seconds, *(tick.at_seconds for tick in ticks), span.end_seconds]
        usual = max(2 * self.period_seconds, 1.0)
        missed = sum(max(0.0, later - earlier - usual) for earlier, later in pairwise(edges))
        read = sum(key in tick.values for tick in ticks) / len(ticks)
        return min(read, 1 - missed / span.seconds if span.seconds > 0 else 0.0)

    def covered(self, key: str, span: Span, name: str) -> Absent | None:
        """Why a meter has failed over a span; None where it has not."""
        ratio = self.coverage_ratio(key, span)
        if ratio >= MIN_COVERAGE_RATIO:
            return None
        return Absent(f"{name} was read in {ratio:.0%} of the time only, {MIN_COVERAGE_RATIO:.0%} are needed")

    def telemetry(self, plan: Plan, *, cpu_count: int, emulator: bool) -> Telemetry:
        """What the phone did while the harness ran. ``plan``: what it let its shell read."""
        span = self.span(RUNNING)
        if isinstance(span, Absent):
            names = ("background_cpu_ratio", "cpu_frequency", "temperature", "thermal_status")
            return Telemetry(absent=dict.fromkeys(names, span.why))
        absent: dict[str, str] = {"steal_ratio": "phones have no hypervisor that would take CPU time"}
        fields: dict[str, Any] = {}
        background = plan.absent.get("load") or self._background(span, cpu_count)
        if isinstance(background, str):
            absent["background_cpu_ratio"] = background
        else:
            fields["background_cpu_ratio"] = background
        frequencies = plan.absent.get("cpu_frequency") or self._frequencies(span, plan)
        if isinstance(frequencies, str):
            absent["cpu_frequency"] = frequencies
        else:
            fields |= frequencies
        fields |= self._thermal(span, absent, emulator=emulator)
        states = [state for at, state in self.batteries if span.start_seconds - 30 <= at <= span.end_seconds + 5]
        fed = [state.powered for state in states if state.powered is not None and not state.updates_stopped]
        if fed:
            fields["powered"] = any(fed)
        else:
            absent["powered"] = "dumpsys battery: no state that tells"
        if len(self.spent) >= 2 and (seconds := self.spent[-1][0] - self.spent[0][0]) > 0:
            fields["sampler_cpu_ratio"] = (self.spent[-1][1] - self.spent[0][1]) / seconds
        else:
            absent["sampler_cpu_ratio"] = "the sampler ended before it could tell"
        return Telemetry(**fields, absent=absent)

    def _background(self, span: Span, cpu_count: int) -> float | str:
        if failed := self.covered("s", span, "/proc/stat"):
            return failed.why
        both = [tick for tick in self.within(span) if {"s", "o"} <= tick.values.keys()]
        counts = [(tick.at_seconds, _counts(tick.values["s"], 8), _counts(tick.values["o"], 4)) for tick in both]
        whole = [(at, stat, own) for at, stat, own in counts if stat and own]
        if len(whole) < 2 or whole[-1][0] <= whole[0][0]:
            return "the measurement ended before a second reading"
        (start, first, own_first), (end, last, own_last) = whole[0], whole[-1]
        busy = [last[n] - first[n] for n in (0, 1, 2, 5, 6)]  # all but idle, iowait and steal
        ticks = sum(busy) - (sum(own_last) - sum(own_first))
        return min(1.0, max(0.0, ticks / _TICKS_PER_SECOND / ((end - start) * cpu_count)))

    def _frequencies(self, span: Span, plan: Plan) -> dict[str, float] | str:
        """Of the slowest of the CPUs that were watched."""
        clusters = {cluster.cpus[0]: cluster.max_hertz for cluster in plan.clusters}
        watched = [int(key[1:]) for key in self.keys if re.fullmatch(r"f\d+", key)]
        if not watched:
            return "no CPU was watched"
        for cpu in watched:
            for key in (f"f{cpu}", f"m{cpu}"):
                if failed := self.covered(key, span, f"the frequency of cpu{cpu}"):
                    return failed.why
        slowest = min(watched, key=lambda cpu: clusters.get(cpu, 0))
        read = [_hertz(tick.values.get(f"f{slowest}")) for tick in self.within(span)]
        clocks = [hertz for hertz in read if hertz]
        # A cap counts on any of them: as a share of what that CPU can do, told for the CPU where it is the lowest.
        caps = [
            (hertz / clusters[cpu], hertz, clusters[cpu])
            for cpu in watched
            if clusters.get(cpu)
            for tick in self.within(span)
            if (hertz := _hertz(tick.values.get(f"m{cpu}")))
        ]
        if not clocks or not caps:
            return "the frequency files hold no frequency"
        _, limit, maximum = min(caps)
        return {
            "cpu_frequency_hertz_min": min(clocks),
            "cpu_frequency_hertz_max": max(clocks),
            "cpu_frequency_limit_hertz": limit,
            "cpu_frequency_maximum_hertz": float(maximum),
        }

    def _thermal(self, span: Span, absent: dict[str, str], *, emulator: bool) -> dict[str, Any]:
        seen = [(at, state) for at, state in self.thermals if at <= span.end_seconds + 5]
        start = max((n for n, (at, _) in enumerate(seen) if at <= span.start_seconds + 1), default=0)
        during = seen[start:]
        if not during:
            absent |= dict.fromkeys(("temperature", "thermal_status"), "dumpsys thermalservice: no state that tells")
            return {}
        fields: dict[str, Any] = {
            "cooling_devices": tuple(
                sorted(
                    {
                        f"{device.name} at {device.level}"
                        for _, state in during
                        for device in thermalservice.active(state, emulator=emulator)
                    }
                )
            )
        }
        overridden = [state.overridden for _, state in during if state.overridden is not None]
        if overridden:
            fields["thermal_overridden"] = any(overridden)
        if any(overridden):
            absent["thermal_status"] = "the status was set by hand (cmd thermalservice override-status)"
        elif levels := [state.status for _, state in during if state.status is not None]:
            fields["thermal_status_max"] = max(levels)
        else:
            absent["thermal_status"] = "dumpsys thermalservice: no status"
        hottest = [(at, found) for at, state in during if (found := state.hottest("CPU", "SKIN", "BATTERY"))]
        if not hottest:
            absent["temperature"] = "dumpsys thermalservice: no temperatures from the HAL"
        elif (
            len(hottest) > 2
            and hottest[-1][0] - hottest[0][0] >= _STALE_SECONDS
            and len({state.temperatures for _, state in during}) == 1
        ):
            absent["temperature"] = "stale: no sensor changed at all while the phone was at work"
        else:
            fields["temperature_start_celsius"] = hottest[0][1].celsius
            fields["temperature_max_celsius"] = max(found.celsius for _, found in hottest)
            fields["temperature_sensor"] = hottest[0][1].kind
        return fields


def clock_offset_seconds(records: Sequence[Mapping[str, Any]]) -> float | Absent:
    """CLOCK_MONOTONIC minus ``/proc/uptime``, from the harness's first and last record. The two run alike but while the
    phone sleeps, and then times of samples cannot be told."""
    found = [
        record["monotonic_seconds"] - record["uptime_seconds"]
        for record in records
        if record.get("kind") in ("start", "end") and record.get("uptime_seconds") is not None
    ]
    if len(found) < 2:
        return Absent("the harness did not tell how its clock stands to the phone's")
    if abs(found[-1] - found[0]) > _LONGEST_SLEEP_SECONDS:
        return Absent(f"the phone slept for {abs(found[-1] - found[0]):.1f} s during the measurement")
    return float(found[0])


def read(text: str) -> Samples | Absent:
    """All records of a sampler's file. One that is cut or garbled is lost, and counts against the meters that it would
    have read; numbers that come twice mean that two samplers wrote, and nothing of it can be used."""
    records: list[tuple[int, list[str]]] = []
    for line in text.split("\n"):
        fields = line.split("\t")
        if len(fields) < 4 or fields[-1] != ";":
            continue
        if isinstance(seq := integer(fields[0]), int) and seq >= 0:
            records.append((seq, fields[1:-1]))
    numbers = [seq for seq, _ in records]
    if len(set(numbers)) < len(numbers):
        return Absent("the sampler's records have numbers that come twice: two samplers wrote to one file")
    if not records or numbers[0] != 0 or records[0][1][0] != "start" or len(records[0][1]) != 4:
        return Absent("the sampler's records have no beginning")
    period = number(records[0][1][2])
    if isinstance(period, Absent) or period <= 0:
        return Absent("the sampler's records do not tell its period")
    by_kind: dict[str, list[list[str]]] = {}
    for _, (kind, *fields) in records:
        by_kind.setdefault(kind, []).append(fields)
    ticks = [tick for fields in by_kind.get("tick", []) if (tick := _tick(fields))]
    if any(later.at_seconds < earlier.at_seconds for earlier, later in pairwise(ticks)):
        return Absent("the sampler's clock ran backwards")
    return Samples(
        period_seconds=period,
        keys=tuple(key for key in records[0][1][3].split(",") if key != "-"),
        ticks=tuple(ticks),
        batteries=_blocks(by_kind.get("battery", []), battery.parse),
        thermals=_blocks(by_kind.get("thermal", []), thermalservice.parse),
        rails=_rails(by_kind.get("rail", [])),
        spent=tuple(
            (at, sum(counts) / _TICKS_PER_SECOND)
            for fields in by_kind.get("cpu", [])
            if len(fields) == 2
            and not isinstance(at := number(fields[0]), Absent)
            and (counts := _counts(fields[1], 4))
        ),
        lost=max(numbers) + 1 - len(numbers),
        ended=records[-1][1][0] == "end",
    )


def _tick(fields: list[str]) -> Tick | None:
    if len(fields) < 2 or fields[1] not in ("0", "1", "2") or isinstance(at := number(fields[0]), Absent):
        return None
    pairs = [field.partition("=") for field in fields[2:]]
    return Tick(at, int(fields[1]), {key: value for key, _, value in pairs if value})


def _blocks(rows: Sequence[list[str]], parse: Callable[[str], T | Absent]) -> tuple[tuple[float, T], ...]:
    """What a command printed, line by line, put together again and parsed; what makes no sense is left out."""
    texts: dict[str, tuple[float, list[str]]] = {}
    for fields in rows:
        if len(fields) >= 3 and not isinstance(at := number(fields[0]), Absent):
            texts.setdefault(fields[1], (at, []))[1].append("\t".join(fields[2:]))
    parsed = [(at, parse("\n".join(lines))) for at, lines in texts.values()]
    return tuple((at, found) for at, found in parsed if not isinstance(found, Absent))


def _rails(rows: Sequence[list[str]]) -> dict[int, tuple[odpm.Rails, ...]]:
    blocks: dict[tuple[int, str], list[str]] = {}
    for fields in rows:
        if len(fields) == 3 and isinstance(device := integer(fields[1]), int):
            blocks.setdefault((device, fields[0]), []).append(fields[2])
    found: dict[int, list[odpm.Rails]] = {}
    for (device, _), lines in blocks.items():
        rails = odpm.parse("\n".join(lines))
        if not isinstance(rails, Absent):
            found.setdefault(device, []).append(rails)
    return {device: tuple(rails) for device, rails in found.items()}


def _counts(text: str, count: int) -> list[int] | None:
    values = [integer(word) for word in text.split(",")]
    whole = [value for value in values if isinstance(value, int)]
    return whole if len(whole) == len(values) == count else None


def _hertz(text: str | None) -> float | None:
    value = integer(text or "")
    return value * 1000.0 if isinstance(value, int) and value > 0 else None
