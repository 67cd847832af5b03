"""How the metrics of a comparison are called and written for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from farm.analysis import figures
from farm.analysis.quantities import Quantity
from farm.types import Estimate

_TITLES = {
    "seconds_per_sample": "time per sample",
    "artifact_size": "artifact size",
    "parity_cosine": "cosine with PyTorch",
    "parity_max_abs_error": "largest error",
    "parity_snr_db": "SNR, dB",
    "parity_top1": "top-1 agreement",
    "memory_peak": "peak memory",
    "memory_over_baseline": "memory over the start",
    "speedup": "speed-up",
    "drop": "drop against PyTorch",
    "energy": "energy per inference",
    "load": "load time",
    "import": "import time",
}

_BY_NAME: Mapping[str, Callable[[float], str]] = {
    "parity_cosine": figures.cosine,
    "speedup": figures.times,
    "drop": figures.change,
}
_BY_UNIT: Mapping[str, Callable[[float], str]] = {
    "seconds": lambda seconds: f"{figures.milliseconds(seconds)} ms",
    "bytes": figures.size,
    "joules": figures.energy,
    "watts": figures.power,
    "per second": lambda rate: f"{figures.number(rate)}/s",
    "ratio": figures.score,
}


def title(metric: Quantity) -> str:
    """``p50 latency``, ``artifact size``."""
    if metric.name.startswith("latency_"):
        return f"{metric.name.removeprefix('latency_')} latency"
    return _TITLES.get(metric.name, metric.name.replace("_", " "))


def written(metric: Quantity, value: float) -> str:
    """With its unit: ``12.34 ms``, ``4.2 MiB``, ``0.7512``."""
    write = _BY_NAME.get(metric.name) or _BY_UNIT[metric.unit]
    return write(value)


def interval(metric: Quantity, figure: Estimate) -> str:
    """Empty for a figure that has none."""
    if figure.low == figure.high:
        return ""
    if metric.unit == "seconds":
        return figures.milliseconds_interval(figure)
    if metric.name == "drop":
        return figures.change_interval(figure)
    return f"{written(metric, figure.low)}–{written(metric, figure.high)}"


def both(metric: Quantity, figure: Estimate) -> str:
    """``12.34 ms (12.3–12.4)``."""
    between = interval(metric, figure)
    return written(metric, figure.value) + (f" ({between})" if between else "")


def scale(metric: Quantity) -> tuple[float, str]:
    """What a plot's numbers are multiplied by, and the unit they are then in."""
    return {
        "seconds": (1e3, "ms"),
        "bytes": (2.0**-20, "MiB"),
        "joules": (1e3, "mJ"),
        "watts": (1.0, "W"),
        "per second": (1.0, "per second"),
    }.get(metric.unit, (1.0, ""))


def so_many_devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"


def listed(names: list[str] | tuple[str, ...], most: int = 6) -> str:
    """All of a few; of many the first, and how many more."""
    shown = names if len(names) <= most else names[:most]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
