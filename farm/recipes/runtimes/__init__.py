"""One module per runtime; importing them is cheap, they import their tools when they build."""

from farm.recipes.runtimes import (
    executorch,
    litert,
    onnxruntime,
    pytorch,
    pytorch_mobile,
    reference,
    torchscript,
)
from farm.recipes.runtimes.built import Builder, Built

BUILDERS: dict[str, Builder] = {
    "pytorch": pytorch,
    "torchscript": torchscript,
    "pytorch-mobile": pytorch_mobile,
    "executorch": executorch,
    "onnxruntime": onnxruntime,
    "litert": litert,
    "reference": reference,
}

__all__ = ["BUILDERS", "Builder", "Built"]
