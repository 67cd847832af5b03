"""Raw latency samples as Parquet: columns ``phase`` ("warmup" or "measured") and ``seconds``, in measured order.

One row per inference, readable by any tool, so that a figure can be checked against what it came from.

What is too old is thinned (``thinned``): phases "quantile" (of the measured ones, at every half percent from 0 to 100)
and "block" (the medians of 20 parts of equal length, in measured order), and in the file's metadata how many there
were. p50, p90, p95, p99 stay what they were, and a drift can still be seen; what needs the order of single samples
(intervals that allow for serial correlation) is as the result says and cannot be computed anew.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from farm.errors import InfrastructureError

QUANTILES = 201
BLOCKS = 20
_WORTH = 2 * (QUANTILES + BLOCKS)  # samples; below that a file hardly gets smaller
_COUNTS = (b"farm.measured_count", b"farm.warmup_count")


class Thinned(NamedTuple):
    """``quantiles_seconds``: 201, the smallest first; ``blocks_seconds``: 20 medians in measured order."""

    measured_count: int
    warmup_count: int
    quantiles_seconds: list[float]
    blocks_seconds: list[float]


class Samples(NamedTuple):
    """Both are empty where only ``thinned`` is left."""

    warmup_seconds: list[float]
    measured_seconds: list[float]
    thinned: Thinned | None = None


def write(warmup_seconds: Sequence[float], measured_seconds: Sequence[float]) -> bytes:
    return _written({"warmup": warmup_seconds, "measured": measured_seconds}, {})


def thinned(samples: Samples) -> bytes | None:
    """The file to keep instead, the same for the same samples; None where there are so few that all are kept."""
    import numpy as np

    if samples.thinned or len(samples.measured_seconds) + len(samples.warmup_seconds) < _WORTH:
        return None
    if len(samples.measured_seconds) < BLOCKS:
        return None
    measured = np.asarray(samples.measured_seconds)
    quantiles = np.quantile(measured, np.linspace(0, 1, QUANTILES))
    blocks = [np.median(block) for block in np.array_split(measured, BLOCKS)]
    counts = (len(samples.measured_seconds), len(samples.warmup_seconds))
    metadata = {name: str(count).encode() for name, count in zip(_COUNTS, counts, strict=True)}
    return _written({"quantile": quantiles.tolist(), "block": [float(block) for block in blocks]}, metadata)


def _written(phases: Mapping[str, Sequence[float]], metadata: Mapping[bytes, bytes]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [phase for phase, values in phases.items() for _ in values]
    table = pa.table(
        {
            "phase": pa.array(names, pa.string()).dictionary_encode(),
            "seconds": pa.array([value for values in phases.values() for value in values], pa.float64()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(dict(metadata)), buffer, compression="zstd")
    return buffer.getvalue()


def read(content: bytes) -> Samples:
    """Raises InfrastructureError for what ``write`` did not write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(content), columns=["phase", "seconds"])
    except (pa.ArrowException, OSError) as error:
        raise InfrastructureError(
            f"The stored samples cannot be read: {error}.", remedy="Check the disk of the artifact store; run it again."
        ) from error
    by_phase: dict[str, list[float]] = {"warmup": [], "measured": [], "quantile": [], "block": []}
    for phase, seconds in zip(table["phase"].to_pylist(), table["seconds"].to_pylist(), strict=True):
        by_phase[phase].append(seconds)
    return Samples(by_phase["warmup"], by_phase["measured"], _what_is_left(table.schema.metadata or {}, by_phase))


def _what_is_left(metadata: Mapping[bytes, bytes], by_phase: Mapping[str, list[float]]) -> Thinned | None:
    if not all(name in metadata for name in _COUNTS):
        return None
    measured, warmup = (int(metadata[name]) for name in _COUNTS)
    return Thinned(measured, warmup, by_phase["quantile"], by_phase["block"])
