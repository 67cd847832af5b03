"""What variants are compared by: each figure of a result by name, with its unit and which way is better. Light."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from farm.errors import UserError
from farm.suggestion import did_you_mean
from farm.types import Estimate, Result

Unit = Literal["seconds", "bytes", "joules", "watts", "ratio", "per second"]

# Of an evaluation's figures, those whose names everybody knows; the one that an own task is judged by is ``score``.
_SCORES = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc", "auc_macro")


@dataclass(frozen=True)
class Quantity:
    """``score``: changes are differences, not ratios, and higher is better. ``of`` is None where a result has none; a
    figure without an interval has ``low = value = high``."""

    name: str
    unit: Unit
    of: Callable[[Result], Estimate | None]
    higher_is_better: bool = False
    score: bool = False


def _exact(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value, low=value, high=value)


def _latency(quantile: str) -> Callable[[Result], Estimate | None]:
    return lambda result: result.latency_seconds.get(quantile)


def _number(field: str) -> Callable[[Result], Estimate | None]:
    return lambda result: _exact(getattr(result, field))


def _estimate(field: str) -> Callable[[Result], Estimate | None]:
    return lambda result: getattr(result, field)


def _per_sample(result: Result) -> Estimate | None:
    call = result.latency_seconds.get("p50")
    if call is None:
        return None
    return Estimate(value=call.value / result.batch, low=call.low / result.batch, high=call.high / result.batch)


def _score(metric: str) -> Callable[[Result], Estimate | None]:
    return lambda result: _exact(result.evaluation.metrics.get(metric)) if result.evaluation else None


def _own_score(result: Result) -> Estimate | None:
    labelled = result.evaluation
    return _exact(labelled.metrics[labelled.score]) if labelled and labelled.higher_is_better else None


def _parity(field: str) -> Callable[[Result], Estimate | None]:
    return lambda result: _exact(getattr(result.parity, field)) if result.parity else None


QUANTITIES: Mapping[str, Quantity] = {
    quantity.name: quantity
    for quantity in (
        *(Quantity(f"latency_{name}", "seconds", _latency(name)) for name in ("p50", "p90", "p95", "p99")),
        Quantity("latency_mean", "seconds", _number("latency_mean_seconds")),
        Quantity("seconds_per_sample", "seconds", _per_sample),
        Quantity("throughput", "per second", _number("samples_per_second"), higher_is_better=True),
        Quantity("load", "seconds", _number("load_seconds")),
        Quantity("first_inference", "seconds", _number("first_inference_seconds")),
        Quantity("memory_peak", "bytes", _number("memory_peak_bytes")),
        Quantity("memory_over_baseline", "bytes", _number("memory_over_baseline_bytes")),
        Quantity("artifact_size", "bytes", _number("artifact_bytes")),
        Quantity("energy", "joules", _estimate("energy_joules")),
        Quantity("power", "watts", _estimate("power_watts")),
        *(Quantity(name, "ratio", _score(name), higher_is_better=True, score=True) for name in _SCORES),
        Quantity("score", "ratio", _own_score, higher_is_better=True, score=True),
        Quantity("parity_cosine", "ratio", _parity("cosine"), higher_is_better=True, score=True),
    )
}


# What the variants of one run are compared by beside that; it needs PyTorch next to it, or says little over nights.
COMPARED: Mapping[str, Quantity] = {
    **QUANTITIES,
    "speedup": Quantity("speedup", "ratio", lambda _: None, higher_is_better=True),  # a row has it: ``Row.figure``
    "drop": Quantity("drop", "ratio", lambda result: result.evaluation.drop if result.evaluation else None, score=True),
    "import": Quantity("import", "seconds", _number("import_seconds")),
    "parity_max_abs_error": Quantity("parity_max_abs_error", "ratio", _parity("max_abs_error")),
    "parity_snr_db": Quantity("parity_snr_db", "ratio", _parity("snr_db"), higher_is_better=True, score=True),
    "parity_top1": Quantity("parity_top1", "ratio", _parity("top1_agreement"), higher_is_better=True, score=True),
}

# As the columns of ``Row.to_dict`` name them.
_COLUMNS = {
    **{f"latency_{name}_seconds": f"latency_{name}" for name in ("p50", "p90", "p95", "p99", "mean")},
    **{f"{name}_seconds": name for name in ("load", "first_inference", "import")},
    **{f"{name}_bytes": name for name in ("memory_peak", "memory_over_baseline")},
    **{f"evaluation_{name}": name for name in (*_SCORES, "drop")},
    "samples_per_second": "throughput",
    "artifact_bytes": "artifact_size",
    "energy_joules": "energy",
    "power_watts": "power",
    "parity_top1_agreement": "parity_top1",
}


def known(name: str) -> Quantity | None:
    """By its own name or that of its column."""
    return COMPARED.get(_COLUMNS.get(name, name))


def compared(name: str) -> Quantity:
    """By its own name or that of its column. Raises UserError with the names that are near, or all."""
    found = known(name)
    if found is None:
        near = did_you_mean(name, [*COMPARED, *_COLUMNS]).lstrip()
        raise UserError(f"There is no metric {name!r}.", remedy=near or f"Take one of {', '.join(COMPARED)}.")
    return found


def quantity(name: str) -> Quantity:
    """Raises UserError with the names there are."""
    if name not in QUANTITIES:
        raise UserError(f"There is no metric {name!r}.", remedy=f"Take one of {', '.join(QUANTITIES)}.")
    return QUANTITIES[name]


def figures_of(result: Result) -> dict[str, Estimate]:
    """All that the result has, by name."""
    found = {name: each.of(result) for name, each in QUANTITIES.items()}
    return {name: estimate for name, estimate in found.items() if estimate is not None}
