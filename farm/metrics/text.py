"""State as the text that Prometheus reads, in its own format or in OpenMetrics.

``prometheus_client`` would take several times as long for a thousand devices, and all other requests wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from farm.metrics.catalogue import Metric


class Family(NamedTuple):
    """A gauge or info of the catalogue. ``samples``: values of its labels in their order, and its own."""

    metric: Metric
    samples: Iterable[tuple[tuple[str, ...], float]]


def write(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """Without OpenMetrics' mark of the end."""
    lines: list[str] = []
    for metric, samples in families:
        name, kind = metric.name, "gauge"
        if openmetrics and metric.kind == "info":
            name, kind = metric.name.removesuffix("_info"), "info"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {kind}"]
        if openmetrics and metric.unit:
            lines.append(f"# UNIT {name} {metric.unit}")
        labels = ",".join(f'{label}="%s"' for label in metric.labels)
        line = f"{metric.name}{{{labels}}} %r" if labels else f"{metric.name} %r"
        lines += [line % (*map(escaped, values), float(value)) for values, value in samples]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def escaped(value: str) -> str:
    """As a label's value."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
