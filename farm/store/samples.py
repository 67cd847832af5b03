"""Raw latency samples as Parquet: columns ``phase`` ("warmup" or "measured") and ``seconds``, in measured order.

One row per inference, readable by any tool, so that a figure can be checked against what it came from.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from farm.errors import InfrastructureError


class Samples(NamedTuple):
    warmup_seconds: list[float]
    measured_seconds: list[float]


def write(warmup_seconds: Sequence[float], measured_seconds: Sequence[float]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    phases = ["warmup"] * len(warmup_seconds) + ["measured"] * len(measured_seconds)
    table = pa.table(
        {
            "phase": pa.array(phases, pa.string()).dictionary_encode(),
            "seconds": pa.array([*warmup_seconds, *measured_seconds], pa.float64()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
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
    by_phase: dict[str, list[float]] = {"warmup": [], "measured": []}
    for phase, seconds in zip(table["phase"].to_pylist(), table["seconds"].to_pylist(), strict=True):
        by_phase[phase].append(seconds)
    return Samples(by_phase["warmup"], by_phase["measured"])
