"""One module per runtime; importing them is cheap, they import their tools when they build."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import cast

from farm.recipes.runtimes import (
    aotinductor,
    coreml,
    executorch,
    litert,
    mnn,
    ncnn,
    onnxruntime,
    onnxruntime_qnn,
    openvino,
    pytorch,
    pytorch_mobile,
    reference,
    tensorrt,
    torchscript,
)
from farm.recipes.runtimes.built import Builder, Built

ENTRY_POINTS = "torchfarm.runtimes"

BUILDERS: dict[str, Builder] = {
    "pytorch": pytorch,
    "aotinductor": aotinductor,
    "torchscript": torchscript,
    "pytorch-mobile": pytorch_mobile,
    "executorch": executorch,
    "onnxruntime": onnxruntime,
    "onnxruntime-qnn": onnxruntime_qnn,
    "litert": litert,
    "coreml": coreml,
    "openvino": openvino,
    "ncnn": ncnn,
    "mnn": mnn,
    "tensorrt": tensorrt,
    "reference": reference,
    **{point.name: cast(Builder, point.load()) for point in entry_points(group=ENTRY_POINTS)},
}

__all__ = ["BUILDERS", "ENTRY_POINTS", "Builder", "Built"]
