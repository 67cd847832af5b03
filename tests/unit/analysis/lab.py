"""Comparisons put together from bare figures: what a property needs, at once and without samples."""

from __future__ import annotations

from collections.abc import Mapping

from farm.analysis.comparison import Comparison
from farm.types import Estimate, JobOutcome, Scenario, Verdict, VerdictLevel
from tests.unit.analysis.outcomes import artifact, device, failed, job
from tests.values import result

Figures = Mapping[str, Mapping[str, float]]  # median in seconds by device, then by variant


def estimate(value: float, spread: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value / (1 + spread), high=value * (1 + spread))


def outcome(
    variant: str,
    on: str,
    median: Estimate | float,
    *,
    id: int = 1,
    run_id: int = 1,
    size_bytes: int = 10,
    level: VerdictLevel = VerdictLevel.TRUSTED,
    virtual: bool = False,
    threads: int = 1,
    soc: str = "SM8650",
    **fields: object,
) -> JobOutcome:
    done = job(variant, id, run_id, on, scenario=Scenario(threads=threads))
    figure = median if isinstance(median, Estimate) else estimate(median)
    known: dict[str, object] = {
        "latency_seconds": {"p50": figure},
        "artifact_bytes": size_bytes,
        "verdict": Verdict(level=level),
    }
    return JobOutcome(
        job=done,
        device=device(on, virtual=virtual, platform="android", soc=soc),
        artifact=artifact(variant, size_bytes),
        result=result(id, **known | fields),
    )


def lab(medians: Figures, spread: float = 0.01) -> Comparison:
    """A device that lacks a variant has a failed job of it."""
    names = list(dict.fromkeys(name for line in medians.values() for name in line))
    found = []
    for number, (on, line) in enumerate(medians.items()):
        for index, name in enumerate(names):
            id = 100 * number + index + 1
            if name in line:
                found.append(outcome(name, on, estimate(line[name], spread), id=id))
            else:
                found.append(failed(name, id=id, on=device(on, platform="android")))
    return Comparison(found)
