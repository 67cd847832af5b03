"""A whole run as a report shows it: eight variants with one and two threads, quiet, noisy, wrong and failed ones."""

from __future__ import annotations

import numpy as np

from farm.analysis.comparison import Comparison
from farm.types import JobOutcome, Scenario
from tests.unit.analysis.outcomes import MIB, failed, finished, parity, run, series, telemetry

MEDIANS_SECONDS = {
    "pytorch": 0.0612,
    "torchscript": 0.0497,
    "pytorch-mobile": 0.0553,
    "executorch-xnnpack": 0.0241,
    "executorch-xnnpack-int8": 0.0119,
    "onnxruntime": 0.0243,
    "onnxruntime-int8": 0.0108,
}
SIZES_MIB = {"executorch-xnnpack-int8": 5.1, "onnxruntime-int8": 5.4}


def outcomes(run_id: int = 1) -> tuple[list[JobOutcome], dict[int, list[float]]]:
    """Outcomes with their samples by job id."""
    found: list[JobOutcome] = []
    samples: dict[int, list[float]] = {}
    for threads in (1, 2):
        for index, (name, median_seconds) in enumerate(MEDIANS_SECONDS.items()):
            id = 100 * run_id + 10 * threads + index
            count = int(min(900, 10 / median_seconds * threads**0.7))
            values = series(median_seconds / threads**0.7, count, seed=id)
            fields = {}
            if name.endswith("int8"):
                fields["parity"] = parity(cosine=0.99731, max_abs_error=0.83)
            elif name != "pytorch":
                fields["parity"] = parity(max_abs_error=2e-6 * (index + 1))
            else:
                fields["parity"] = parity(cosine=1.0, max_abs_error=0.0)
            if name == "torchscript":
                values = values * np.linspace(1.0, 1.16, count)
            if name == "onnxruntime-int8" and threads == 1:
                fields["parity"] = parity(cosine=0.93127, max_abs_error=4.4)
            if name == "pytorch-mobile" and threads == 2:
                fields["telemetry"] = telemetry(background_cpu_ratio=0.37, steal_ratio=0.041)
                values = values * np.random.default_rng(1).choice([1, 2.4], count, p=[0.9, 0.1])
            samples[id] = values.tolist()
            found.append(
                finished(
                    name,
                    values,
                    id=id,
                    run_id=run_id,
                    scenario=Scenario(threads=threads),
                    size_bytes=int(SIZES_MIB.get(name, 18.6 + 0.15 * index) * MIB),
                    load_seconds=0.05 + 0.11 * index,
                    first_inference_seconds=1.6 * float(values[0]),
                    memory_peak_bytes=int((90 + 22 * (7 - index)) * MIB),
                    **fields,
                )
            )
        found.append(
            failed("litert", id=100 * run_id + 10 * threads + 9, run_id=run_id, scenario=Scenario(threads=threads))
        )
    return found, samples


def comparison() -> tuple[Comparison, dict[int, list[float]]]:
    found, samples = outcomes()
    return Comparison(found, runs=[run()], load_samples=samples.__getitem__), samples
