"""How a virtual device behaves: a pure function of the profile, the seed, the lease and the device's condition.

Nothing here waits, reads a clock or runs a model. docs/virtual-fleet.md says what the model is, and what it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

import numpy as np

from agents.harness.loop import CHECK_GROWTH, StoppedBy
from agents.harness.stopping import median_interval, steady
from agents.virtual.profile import Battery, Kind, Thermal
from farm.types import Lease, RecoveryStep

VERSION = "1"  # counts up whenever the same seed and lease no longer give the same figures
RECONNECT_SECONDS = 2.0  # how long a device needs for such a step
REBOOT_SECONDS = 45.0
MOST_SAMPLES = 20_000  # per phase; more would cost the agent more than they show

STEPS: tuple[RecoveryStep, ...] = get_args(RecoveryStep)  # from the mildest on
Breakage = RecoveryStep | Literal["nothing"]  # what mends it
End = Literal["measured", "crashed", "timed-out", "went-offline"]


@dataclass(frozen=True)
class Condition:
    """Of a device at one moment."""

    temperature_celsius: float
    charge_ratio: float = 1.0

    @classmethod
    def rested(cls, kind: Kind) -> Condition:
        return cls(kind.thermal.ambient_celsius)


@dataclass(frozen=True)
class Course:
    """How an attempt goes. ``seconds`` are simulated ones; ``after`` is the device's condition at its end."""

    end: End
    seconds: float
    after: Condition
    import_seconds: float
    load_seconds: float
    first_seconds: float
    warmup_seconds: tuple[float, ...]
    samples_seconds: tuple[float, ...]
    stopped_by: StoppedBy
    hottest_celsius: float
    lowest_clock_ratio: float
    finite: bool
    away_seconds: float  # how long the device stays offline afterwards


def passed(kind: Kind, condition: Condition, seconds: float, *, busy: bool) -> Condition:
    """The condition after ``seconds`` of work or of rest: first-order (RC) heat, linear battery."""
    thermal, charge = kind.thermal, condition.charge_ratio
    aim = thermal.ambient_celsius + (thermal.rise_celsius if busy else 0.0)
    left = math.exp(-seconds / thermal.time_constant_seconds)
    if kind.battery:
        per_hour = -1 / kind.battery.hours_full_to_empty if busy else 1 / kind.battery.hours_empty_to_full
        charge = min(1.0, max(0.0, charge + per_hour * seconds / 3600))
    return Condition(aim + (condition.temperature_celsius - aim) * left, charge)


def clock_ratio(thermal: Thermal, temperature_celsius: float) -> float:
    """Of the full clock: what throttling leaves at this temperature."""
    over = (temperature_celsius - thermal.throttle_celsius) / (thermal.limit_celsius - thermal.throttle_celsius)
    return 1 - (1 - thermal.min_clock_ratio) * min(1.0, max(0.0, over))


def charging_seconds(battery: Battery | None, charge_ratio: float) -> float:
    """How long an empty device stays away; 0 while it can work on."""
    if battery is None or charge_ratio >= battery.min_ratio:
        return 0.0
    return (battery.resume_ratio - charge_ratio) * battery.hours_empty_to_full * 3600


def cooling_seconds(thermal: Thermal, temperature_celsius: float) -> float:
    """How long an idle device is too hot to start; 0 while it may."""
    limit_celsius = thermal.start_below_celsius
    if limit_celsius is None or temperature_celsius <= limit_celsius:
        return 0.0
    over_ambient = (temperature_celsius - thermal.ambient_celsius) / (limit_celsius - thermal.ambient_celsius)
    return thermal.time_constant_seconds * math.log(over_ambient)


def breakage(kind: Kind, seed: int, lease: Lease) -> Breakage | None:
    """What it takes to mend the device after this attempt; None where it stayed whole."""
    rng = _random(seed, "breakage", lease.device_id, lease.attempt_id, lease.epoch)
    if rng.random() >= kind.failures.break_ratio:
        return None
    chance = rng.random()
    for step in STEPS:
        chance -= kind.failures.mended_by.get(step, 0.0)
        if chance < 0:
            return step
    return "nothing"


def mends(step: RecoveryStep, broken: Breakage) -> bool:
    """A step mends what a milder one would have."""
    return broken != "nothing" and STEPS.index(step) >= STEPS.index(broken)


def base_seconds(kind: Kind, seed: int, lease: Lease) -> float:
    """The median latency of this artifact on this cool device with this many threads, without noise; a batch takes as
    long as its samples one by one."""
    latency = kind.latency
    artifact = "/".join(file.sha256 for file in lease.files)
    logarithm = (
        latency.artifact_spread * _normal(seed, "artifact", artifact)
        + latency.pairing_spread * _normal(seed, "pairing", artifact, lease.device_id)
        - kind.speed_spread * _normal(seed, "device", lease.device_id)
    )
    threads = min(lease.scenario.threads, kind.cpu_count)
    alone = 1 - latency.parallel_ratio + latency.parallel_ratio / threads
    return latency.median_seconds * math.exp(logarithm) * alone / kind.speed * lease.batch


def course(kind: Kind, seed: int, lease: Lease, before: Condition) -> Course:
    """How the attempt of ``lease`` goes on a device in this condition. The same arguments give the same course."""
    rng = _random(seed, "attempt", lease.device_id, lease.attempt_id, lease.epoch)
    work = _Work(kind, base_seconds(kind, seed, lease), before, rng)
    latency, protocol = kind.latency, lease.protocol
    work.spend(latency.import_seconds + latency.load_seconds)
    first_seconds = work.infer(latency.first_factor)

    def warm(samples: np.ndarray) -> bool:
        return float(samples.sum()) >= protocol.min_warmup_seconds and steady(
            samples, protocol.confidence, protocol.target_half_width_ratio
        )

    def precise(samples: np.ndarray) -> bool:
        if len(samples) < protocol.min_samples or float(samples.sum()) < protocol.min_seconds:
            return False
        interval = median_interval(samples, protocol.confidence)
        return interval is not None and interval.half_width_ratio <= protocol.target_half_width_ratio

    warmup, _ = _collect(
        work.infer, protocol.min_warmup_runs, MOST_SAMPLES, max(protocol.max_seconds, protocol.min_warmup_seconds), warm
    )
    most = min(protocol.max_samples, MOST_SAMPLES)
    samples, stopped_by = _collect(work.infer, protocol.min_samples, most, protocol.max_seconds, precise)
    measured = Course(
        end="measured",
        seconds=work.seconds,
        after=work.condition,
        import_seconds=latency.import_seconds,
        load_seconds=latency.load_seconds,
        first_seconds=first_seconds,
        warmup_seconds=tuple(warmup),
        samples_seconds=tuple(samples),
        stopped_by=stopped_by,
        hottest_celsius=work.hottest_celsius,
        lowest_clock_ratio=work.lowest_clock_ratio,
        finite=rng.random() >= kind.failures.nan_ratio,
        away_seconds=0.0,
    )
    return _ended(kind, lease, before, measured, rng)


def _ended(kind: Kind, lease: Lease, before: Condition, measured: Course, rng: Random) -> Course:
    """The course that chance makes of one that would have been measured."""
    failures, chance, moment = kind.failures, rng.random(), rng.random()
    end: End = "measured"
    seconds, away_seconds = measured.seconds, 0.0
    if chance < failures.crash_ratio:
        end, seconds = "crashed", moment * seconds
    elif chance < failures.crash_ratio + failures.timeout_ratio:
        end, seconds = "timed-out", lease.protocol.timeout_seconds
    elif chance < failures.crash_ratio + failures.timeout_ratio + failures.offline_ratio:
        end, seconds = "went-offline", moment * seconds
        away_seconds = rng.expovariate(1 / failures.offline_seconds)
    if seconds > lease.protocol.timeout_seconds:
        end, seconds, away_seconds = "timed-out", lease.protocol.timeout_seconds, 0.0
    after = measured.after if end == "measured" else passed(kind, before, seconds, busy=True)
    away_seconds = max(away_seconds, charging_seconds(kind.battery, after.charge_ratio))
    return replace(measured, end=end, seconds=seconds, after=after, away_seconds=away_seconds)


class _Work:
    """A device at work: every inference warms it, and a warm device is slower."""

    def __init__(self, kind: Kind, base_seconds: float, before: Condition, rng: Random) -> None:
        self._kind, self._base_seconds, self._rng = kind, base_seconds, rng
        self._deviation = rng.gauss()  # first-order autoregression of the logarithm, unit variance
        self._fresh = math.sqrt(1 - kind.latency.correlation**2)
        self.condition = before
        self.seconds = 0.0
        self.hottest_celsius = before.temperature_celsius
        self.lowest_clock_ratio = clock_ratio(kind.thermal, before.temperature_celsius)

    def spend(self, seconds: float) -> None:
        self.condition = passed(self._kind, self.condition, seconds, busy=True)
        self.seconds += seconds
        self.hottest_celsius = max(self.hottest_celsius, self.condition.temperature_celsius)

    def infer(self, factor: float = 1.0) -> float:
        latency = self._kind.latency
        clock = clock_ratio(self._kind.thermal, self.condition.temperature_celsius)
        self.lowest_clock_ratio = min(self.lowest_clock_ratio, clock)
        self._deviation = latency.correlation * self._deviation + self._fresh * self._rng.gauss()
        drift = max(0.01, 1 + latency.drift_per_minute * self.seconds / 60)
        seconds = factor * self._base_seconds * drift * math.exp(latency.noise * self._deviation) / clock
        self.spend(seconds)
        return seconds


def _collect(
    infer: Callable[[], float], first_check: int, most: int, max_seconds: float, reached: Callable[[np.ndarray], bool]
) -> tuple[list[float], StoppedBy]:
    """The harness's loop (``agents.harness.loop.collect``) with simulated time in place of its clock."""
    samples: list[float] = []
    spent_seconds = 0.0
    check = min(first_check, most)
    while True:
        while len(samples) < check and (spent_seconds < max_seconds or not samples):
            samples.append(infer())
            spent_seconds += samples[-1]
        if reached(np.array(samples)):
            return samples, "interval"
        if spent_seconds >= max_seconds:
            return samples, "time"
        if len(samples) >= most:
            return samples, "samples"
        check = min(most, max(len(samples) + 1, int(len(samples) * CHECK_GROWTH)))


def _random(seed: int, *about: object) -> Random:
    return Random("|".join(map(str, (seed, *about))))  # noqa: S311 - repeatable, not secret


def _normal(seed: int, *about: object) -> float:
    return _random(seed, *about).gauss()
