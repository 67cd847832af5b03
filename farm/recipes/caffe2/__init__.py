"""Caffe2 models: a pair of nets, translated to ONNX before anything else is done with them.

Caffe2's last runtime left PyTorch with 1.11/2.x; models in its format are still about. What is translated is what the
classic mobile nets are made of (``operators``); the translation is checked against PyTorch modules of the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from farm.errors import ModelError
from farm.recipes.boundary import Boundary

if TYPE_CHECKING:
    from farm.recipes.program import Program

VERSION = 1  # counts up when the same nets make another ONNX model
LABEL = "onnx-from-caffe2"
NOTE = (
    "Translated from Caffe2 to ONNX by the farm. Where no reference outputs were given, the reference is this "
    "translation in ONNX Runtime: nothing can run the original any more."
)


def to_onnx(program: Program) -> Path:
    """Write the uploaded pair as ONNX beside it. Raises ModelError."""
    import onnx

    from farm.recipes.caffe2 import pair
    from farm.recipes.caffe2.translation import translate

    made = translate(*pair.unpack(program.path), program.spec.inputs)
    path = program.path.with_name("translated.onnx")
    remedy = "Report this as a bug, with the nets if you can."
    with Boundary(ModelError, "What became of the Caffe2 nets is no valid ONNX", remedy):
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, str(path))
    return path
