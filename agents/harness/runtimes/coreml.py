"""Core ML through coremltools, on macOS, on the compute units that option ``compute_units`` allows.

Inside a measured inference: ``MLModel.predict``, which takes and returns a dict of numpy arrays and so copies them to
and from Core ML's own. Loading unpacks the package and has Core ML compile it for this machine.

Core ML takes int64 inputs as int32. An int64 sample is narrowed when all its values fit, and refused otherwise. It
chooses its threads itself: a measurement says what its scenario asked for, and Core ML was not told.
"""

from __future__ import annotations

import platform
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness.runtimes import Files, Options, needs_apple
from agents.harness.tensors import Array, Input, narrowed

UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE"}

# ArrayFeatureType.ArrayDataType of Core ML's FeatureTypes.proto
DTYPES = {65568: "float32", 65552: "float16", 131104: "int32", 65600: "float64"}


class Runtime:
    files = ("model.mlpackage.zip",)
    distributions = ("coremltools",)
    extra = "coreml"

    def __init__(self, threads: int) -> None:
        if platform.system() != "Darwin":
            raise needs_apple("Core ML")
        import coremltools

        self._coremltools = coremltools

    def load(self, files: Files, options: Options) -> _Program:
        units = self._coremltools.ComputeUnit[UNITS[str(options.get("compute_units", "all"))]]
        folder = tempfile.TemporaryDirectory(prefix="coreml-")
        with zipfile.ZipFile(files[self.files[0]]) as package:
            package.extractall(folder.name)
        model = self._coremltools.models.MLModel(str(Path(folder.name) / "model.mlpackage"), compute_units=units)
        return _Program(model, folder)


class _Program:
    def __init__(self, model: Any, folder: tempfile.TemporaryDirectory[str]) -> None:
        self._model, self._folder = model, folder  # Core ML reads the package as long as the model lives
        description = model.get_spec().description
        self.inputs = [_input(feature) for feature in description.input]
        self._outputs = [feature.name for feature in description.output]

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        fed = {
            each.name: narrowed(each.name, array, "Core ML") for each, array in zip(self.inputs, sample, strict=True)
        }
        return partial(self._model.predict, fed)

    def outputs(self, returned: Any) -> list[Array]:
        return [np.array(returned[name]) for name in self._outputs]


def _input(feature: Any) -> Input:
    array = feature.type.multiArrayType
    dtype = DTYPES.get(array.dataType)
    shape = None if array.WhichOneof("ShapeFlexibility") else tuple(array.shape)
    return Input(feature.name, shape, dtype, narrows=("int64",) if dtype == "int32" else ())
