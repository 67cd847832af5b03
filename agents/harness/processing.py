"""The steps before and after the model, timed on the device in series of their own, after the model's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agents.harness import loop, steps, tensors
from agents.harness.failure import Failure
from agents.harness.job import Processing, Protocol
from agents.harness.loop import Samples
from agents.harness.records import Writer
from agents.harness.stopping import median_interval
from agents.harness.tensors import Sample

MAX_SECONDS = 3.0  # for each of the two
_MIN_SAMPLES = 20
_MAX_SAMPLES = 2000


def measure(processing: Processing, protocol: Protocol, example: Sample, outputs: Sample, writer: Writer) -> None:
    """Write ``preprocess`` and ``postprocess`` records, of one sample whatever the batch.

    ``example``: what the program was given, ``outputs``: what it answered. Raises Failure where the steps do not make
    the one from the raw example, or cannot take the other."""
    if processing.before and processing.inputs:
        raw = tensors.load(processing.inputs)[0]
        _check(steps.run(processing.before, raw), example)
        _series("preprocess", lambda: steps.run(processing.before, raw), protocol, writer)
    if processing.after:
        _series("postprocess", lambda: steps.run(processing.after, outputs), protocol, writer)


def _check(made: Sample, example: Sample) -> None:
    same = len(made) == len(example) and all(
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.allclose(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
        for one, other in zip(made, example, strict=True)
    )
    if not same:
        got, wanted = (", ".join(map(tensors.describe, each)) for each in (made, example))
        raise Failure(
            "wrong-preprocessing",
            f"The steps make ({got}) of the raw example here, which is not the example input ({wanted}).",
            remedy="Upload the model again with this version of the farm; report it if it persists.",
            fault="user",
        )


def _series(kind: str, work: Callable[[], Any], protocol: Protocol, writer: Writer) -> None:
    collected: list[int] = []

    def reached(samples: Samples) -> bool:
        collected[:] = samples.tolist()
        interval = median_interval(samples, protocol.confidence)
        return interval is not None and interval.half_width_ratio <= protocol.target_half_width_ratio

    work()
    loop.collect(
        work,
        first_check=_MIN_SAMPLES,
        at_least=1,
        max_samples=_MAX_SAMPLES,
        max_seconds=min(MAX_SECONDS, protocol.max_seconds),
        reached=reached,
    )
    writer.write_samples(kind, collected)
