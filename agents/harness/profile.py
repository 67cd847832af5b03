"""What single operators cost, by the runtime's own profiler: after everything that is measured, because it slows down.

A program that can tell has ``profile(sample, runs)``, which returns ``Profiled`` or the reason why it cannot; one
without it has no profiler that this harness knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from agents.harness.failure import Failure
from agents.harness.phase import Step

if TYPE_CHECKING:
    from agents.harness.runtimes import Program
    from agents.harness.tensors import Array

RUNS = 10  # profiled inferences, where they do not take longer than this together
SECONDS = 2.0


@dataclass(frozen=True)
class OperatorTime:
    """The fields of ``farm.types.OperatorTime``."""

    name: str
    type: str
    count: int
    total_seconds: float
    where: str = ""


@dataclass(frozen=True)
class Profiled:
    """``inference_seconds``: of each profiled inference as a whole; ``operators``: over all of them."""

    tool: str
    inference_seconds: Sequence[float]
    operators: Sequence[OperatorTime]


def record(program: Program, sample: Sequence[Array], runtime: str, median_seconds: float) -> dict[str, Any]:
    """Fields of the ``profile`` record: the figures, or ``absent`` with the reason."""
    hook: Callable[[Sequence[Array], int], Profiled | str] | None = getattr(program, "profile", None)
    if hook is None:
        return {"absent": f"this harness knows no profiler of {runtime}"}
    runs = max(1, min(RUNS, int(SECONDS / median_seconds)))
    try:
        with Step("profile", f"profiling with {runtime}"):
            found = hook(sample, runs)
    except Failure as failure:  # the measurement is whole without it
        return {"absent": failure.message}
    if isinstance(found, str):
        return {"absent": found}
    if not found.operators:
        return {"absent": f"{found.tool} saw no operator"}
    rows = sorted(found.operators, key=lambda row: row.total_seconds, reverse=True)
    return {
        "tool": found.tool,
        "runs": len(found.inference_seconds),
        "inference_seconds": fmean(found.inference_seconds),
        "unprofiled_seconds": median_seconds,
        "operators": [asdict(row) for row in rows],
    }


def timed(run: Callable[[], Any], runs: int) -> list[float]:
    """Seconds of each of ``runs`` inferences."""
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        run()
        seconds.append((time.perf_counter_ns() - begin) / 1e9)
    return seconds


def summed(calls: Iterable[tuple[str, str, str, float]]) -> list[OperatorTime]:
    """``calls``: name, type, where and seconds of each; those alike become one row."""
    totals: dict[tuple[str, str, str], tuple[int, float]] = {}
    for name, kind, where, seconds in calls:
        count, total = totals.get((name, kind, where), (0, 0.0))
        totals[name, kind, where] = count + 1, total + seconds
    return [OperatorTime(name, kind, count, total, where) for (name, kind, where), (count, total) in totals.items()]
