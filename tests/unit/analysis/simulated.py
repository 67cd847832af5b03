"""Nights of a fleet whose truth is known: what each device and variant would measure, and what was planted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from farm.analysis.regression import Line
from farm.types import Estimate, HistoryPoint
from tests.values import NOW, sha256

Values = NDArray[np.float64]

NIGHTS_TAILS = 5  # degrees of freedom of Student's distribution: its kurtosis is 9, a normal one's 3
_MEMORY = 0.6  # correlation of a device's state from one night to the next


@dataclass(frozen=True)
class Noise:
    """Standard deviations of logarithms from night to night: ``own`` of each series, ``common`` to all of a device
    (heat, other work), ``room`` to all devices. ``within``: of a run's median, which its interval knows of."""

    own: float = 0.006
    common: float = 0.008
    room: float = 0.002
    within: float = 0.002
    tails: float = NIGHTS_TAILS


@dataclass(frozen=True)
class Fleet:
    """Seconds by device, variant and night, as measured."""

    seconds: Values
    within: Values
    accuracy: Values

    @property
    def shape(self) -> tuple[int, int, int]:
        devices, variants, nights = self.seconds.shape
        return devices, variants, nights


def fleet(devices: int, variants: int, nights: int, noise: Noise = Noise(), seed: int = 0) -> Fleet:
    random = np.random.default_rng(seed)
    level = random.uniform(0.005, 0.05, (devices, 1, 1)) * random.uniform(0.3, 1.0, (1, variants, 1))
    common = _remembering(random, (devices, nights)) * noise.common
    room = _remembering(random, (1, nights)) * noise.room
    heavy = random.standard_t(noise.tails, (devices, variants, nights)) / math.sqrt(noise.tails / (noise.tails - 2))
    within = noise.within * random.uniform(0.7, 1.4, (devices, variants, nights))
    own = noise.own * heavy + within * random.standard_normal((devices, variants, nights))
    return Fleet(
        level * np.exp(own + (common + room)[:, None, :]),
        within,
        np.broadcast_to(random.uniform(0.7, 0.8, (1, variants, 1)), (devices, variants, nights)).copy(),
    )


def _remembering(random: np.random.Generator, shape: tuple[int, int]) -> Values:
    """Rows of standard normal values, each like the one before it."""
    values = random.standard_normal(shape)
    for column in range(1, shape[1]):
        values[:, column] = _MEMORY * values[:, column - 1] + math.sqrt(1 - _MEMORY**2) * values[:, column]
    return values


def until(found: Sequence[Line], night: int) -> list[Line]:
    """The history as it was then; the first night is 0."""
    return [replace(line, points=line.points[: night + 1]) for line in found]


def lines(
    made: Fleet,
    *,
    absent: Callable[[int, int, int], bool] = lambda device, variant, night: False,
    build: Callable[[int, int], str] = lambda variant, night: str(variant),
    untrusted: Callable[[int, int, int], bool] = lambda device, variant, night: False,
) -> list[Line]:
    """As the history holds them. ``build``: of a variant on a night."""
    devices, variants, nights = made.shape
    return [
        Line(
            "nightly",
            f"variant-{variant}",
            f"phone-{device:03d}",
            "single-stream",
            tuple(
                None
                if absent(device, variant, night)
                else _point(made, device, variant, night, build(variant, night), untrusted(device, variant, night))
                for night in range(nights)
            ),
        )
        for device in range(devices)
        for variant in range(variants)
    ]


def _point(made: Fleet, device: int, variant: int, night: int, build: str, untrusted: bool) -> HistoryPoint:
    seconds, error = float(made.seconds[device, variant, night]), float(made.within[device, variant, night])
    accuracy = float(made.accuracy[device, variant, night])
    variants = made.shape[1]
    return HistoryPoint.model_construct(
        job_id=1 + (night * made.shape[0] + device) * variants + variant,
        run_id=night + 1,
        night_id=night + 1,
        model_name="net",
        model_id=sha256("net"),
        variant=f"variant-{variant}",
        build_key=build,
        device_id=f"phone-{device:03d}",
        scenario="single-stream",
        virtual=True,
        trusted=not untrusted,
        verdict="suspect" if untrusted else "trusted",
        reasons=("throttled",) if untrusted else (),
        measured_at=NOW + timedelta(days=night),
        figures={
            "latency_p50": _interval(seconds, error),
            "latency_p95": _interval(seconds * 1.1, 1.5 * error),
            "energy": _interval(seconds * 2.0, 2 * error),
            "accuracy": Estimate.model_construct(value=accuracy, low=accuracy, high=accuracy),
        },
    )


def _interval(value: float, error: float) -> Estimate:
    width = math.exp(1.96 * error)
    return Estimate.model_construct(value=value, low=value / width, high=value * width)
