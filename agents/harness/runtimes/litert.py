"""LiteRT (TensorFlow Lite) interpreter on the CPU, with the XNNPACK delegate it applies by default.

Inside a measured inference: ``Interpreter.invoke``. The inputs lie in the interpreter's own buffers, which it keeps
from run to run; the outputs are in its buffers afterwards. Loading includes ``allocate_tensors``, where the delegate
prepares the graph.

The converter turns int64 inputs into int32. An int64 sample is narrowed when all its values fit, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.harness.runtimes import Files, Options
from agents.harness.tensors import Array, Input, narrowed


class Runtime:
    files = ("model.tflite",)
    distributions = ("ai-edge-litert",)
    extra = "litert"

    def __init__(self, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter, self._threads = Interpreter, threads

    def load(self, files: Files, options: Options) -> _Program:
        interpreter = self._interpreter(model_path=str(files[self.files[0]]), num_threads=self._threads)
        interpreter.allocate_tensors()
        return _Program(interpreter)


class _Program:
    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        # The details are in positional order; the signature's names are sorted (args_10 before args_2).
        self._details = interpreter.get_input_details()
        self._output_indices = [details["index"] for details in interpreter.get_output_details()]
        self.inputs = [_input(details) for details in self._details]

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        for details, array in zip(self._details, sample, strict=True):
            fitting = narrowed(details["name"], array, "LiteRT") if details["dtype"] == np.int32 else array
            self._interpreter.set_tensor(details["index"], fitting)
        return self._interpreter.invoke  # type: ignore[no-any-return]

    def outputs(self, returned: Any) -> list[Array]:
        return [self._interpreter.get_tensor(index) for index in self._output_indices]

    def profile(self, sample: Sequence[Array], runs: int) -> str:
        return "LiteRT's operator profiler is part of its C++ library; its Python package does not offer it"


def _input(details: dict[str, Any]) -> Input:
    dtype = np.dtype(details["dtype"]).name
    shape = tuple(int(size) for size in details["shape"])
    return Input(details["name"], shape, dtype, narrows=("int64",) if dtype == "int32" else ())
