"""Results as an OpenMetrics file, for what is older than Prometheus takes by remote write.

``promtool tsdb create-blocks-from openmetrics FILE DATA`` makes blocks of it in the data directory of a Prometheus.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from farm.metrics import catalogue
from farm.metrics.text import escaped
from farm.types import Publication

_PUSHED = {metric.name: metric for metric in catalogue.METRICS if metric.origin in ("result", "run")}


def write(publications: Iterable[Publication], path: Path) -> int:
    """Write them to ``path``, one family after the other as OpenMetrics asks; how many samples.

    ``publications`` in the order of time. Each family waits in a temporary file: memory does not grow with them.
    """
    count = 0
    with ExitStack() as stack:
        families: dict[str, IO[str]] = {}
        for publication in publications:
            for point in publication.points:
                if point.name not in families:
                    families[point.name] = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
                labels = {**publication.labels, **point.labels}
                written = ",".join(f'{name}="{escaped(labels[name])}"' for name in sorted(labels))
                seconds = f"{publication.at.timestamp():.3f}"
                families[point.name].write(f"{point.name}{{{written}}} {point.value!r} {seconds}\n")
                count += 1
        with path.open("w", encoding="utf-8") as target:
            for name, family in sorted(families.items()):
                target.write(f"# TYPE {name} gauge\n# HELP {name} {_PUSHED[name].help}\n")
                family.seek(0)
                target.writelines(family)
            target.write("# EOF\n")
    return count
