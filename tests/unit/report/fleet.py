"""A comparison as wide as a lab makes it: many variants on many phones, some of which fail, doubt or are wrong."""

from __future__ import annotations

import numpy as np

from farm.analysis.comparison import Comparison
from farm.types import Device, Estimate, Evaluation, JobOutcome
from tests.unit.analysis.outcomes import MIB, device, failed, finished, parity, run, series, telemetry

PHONES = (
    ("pixel-8a", "Pixel 8a", "Tensor G3", 1.0),
    ("pixel-8-01", "Pixel 8", "Tensor G3", 0.94),
    ("pixel-8-02", "Pixel 8", "Tensor G3", 0.96),
    ("pixel-6", "Pixel 6", "Tensor G1", 1.35),
    ("galaxy-s24", "Galaxy S24", "SM8650", 0.62),
    ("galaxy-s23", "Galaxy S23", "SM8550", 0.71),
    ("galaxy-a54", "Galaxy A54", "Exynos 1380", 2.3),
    ("galaxy-a14", "Galaxy A14", "Helio G80", 4.4),
    ("xiaomi-13", "Xiaomi 13", "SM8550", 0.69),
    ("oneplus-nord", "OnePlus Nord CE3", "SM7325", 1.9),
    ("moto-g54", "Moto G54", "Dimensity 7020", 2.8),
    ("nokia-g21", "Nokia G21", "T606", 6.1),
)
# Median on the first phone in seconds, size in MiB, accuracy on the labelled set.
VARIANTS = {
    "pytorch": (0.0612, 18.7, 0.7521),
    "torchscript": (0.0497, 18.8, 0.7521),
    "pytorch-mobile": (0.0553, 18.6, 0.7521),
    "executorch-xnnpack": (0.0241, 18.9, 0.7520),
    "executorch-xnnpack-int8": (0.0119, 5.1, 0.7402),
    "executorch-vulkan": (0.0208, 18.9, 0.7519),
    "onnxruntime": (0.0243, 18.7, 0.7521),
    "onnxruntime-int8": (0.0121, 5.4, 0.7355),
    "litert": (0.0239, 18.5, 0.7520),
    "litert-int8": (0.0132, 4.9, 0.7431),
    "ncnn-fp16": (0.0187, 9.5, 0.7518),
    "mnn-fp16": (0.0189, 9.4, 0.7518),
}


def phone(name: str) -> Device:
    for id, model, soc, _ in PHONES:
        if id == name:
            return device(id, platform="android", device_model=model, soc=soc, hypervisor=None)
    raise KeyError(name)


def evaluation(accuracy: float) -> Evaluation:
    return Evaluation(
        task="classification",
        samples=2000,
        score="accuracy",
        metrics={"accuracy": accuracy},
        reference_metrics={"accuracy": 0.7521},
        drop=Estimate(value=0.7521 - accuracy, low=0.7521 - accuracy - 0.0021, high=0.7521 - accuracy + 0.0021),
        confidence=0.95,
    )


def outcomes(phones: int = len(PHONES), run_id: int = 1) -> list[JobOutcome]:
    found: list[JobOutcome] = []
    random = np.random.default_rng(5)
    for number, (id, _, _, slowness) in enumerate(PHONES[:phones]):
        for index, (name, (median_seconds, size_mib, accuracy)) in enumerate(VARIANTS.items()):
            job, on = 100 * (number + 1) + index, phone(id)
            own = slowness * float(np.exp(random.normal(0, 0.0 if name == "pytorch" else 0.13)))
            values = series(median_seconds * own, 250, seed=job)
            if (name, id) in (("executorch-vulkan", "galaxy-a14"), ("executorch-vulkan", "nokia-g21")) or (
                name == "mnn-fp16" and number % 12 > 2
            ):
                found.append(failed(name, id=job, run_id=run_id, on=on))
                continue
            fields = {"parity": parity(cosine=0.9973, max_abs_error=0.83) if name.endswith("int8") else parity()}
            if name == "litert" and id == "pixel-6":
                fields["telemetry"] = telemetry(background_cpu_ratio=0.4)
            outcome = finished(name, values, id=job, run_id=run_id, on=on, size_bytes=int(size_mib * MIB), **fields)
            if outcome.result:
                outcome = outcome.model_copy(
                    update={"result": outcome.result.model_copy(update={"evaluation": evaluation(accuracy)})}
                )
            found.append(outcome)
    return found


def comparison(phones: int = len(PHONES)) -> Comparison:
    return Comparison(outcomes(phones), runs=[run()])
