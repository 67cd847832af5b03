"""ONNX Runtime on its CPU execution provider, graph optimizations at their default (all), at load.

Inside a measured inference: ``InferenceSession.run_with_iobinding`` with inputs and outputs bound as OrtValues in CPU
memory, which is what the C and C++ interfaces do; nothing is converted to or from numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.tensors import Array, Input

# ONNX names types its own way: tensor(float) is float32.
DTYPES = {"float": "float32", "double": "float64"}


class Runtime:
    files = ("model.onnx",)
    distributions = ("onnxruntime",)
    extra = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._onnxruntime, self._threads = onnxruntime, threads

    def load(self, files: Files, options: Options) -> _Program:
        settings = self._onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        session = self._onnxruntime.InferenceSession(files[self.files[0]], settings, providers=["CPUExecutionProvider"])
        check_threads(session.get_session_options().intra_op_num_threads, self._threads)
        return _Program(session, self._onnxruntime.OrtValue.ortvalue_from_numpy)


class _Program:
    def __init__(self, session: Any, to_value: Callable[[Array], Any]) -> None:
        self._session, self._to_value = session, to_value
        self.inputs = [_input(each) for each in session.get_inputs()]
        self._binding = session.io_binding()

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        self._binding = self._session.io_binding()
        for expected, array in zip(self.inputs, sample, strict=True):
            self._binding.bind_ortvalue_input(expected.name, self._to_value(array))
        for output in self._session.get_outputs():
            self._binding.bind_output(output.name, "cpu")
        return partial(self._session.run_with_iobinding, self._binding)

    def outputs(self, returned: Any) -> list[Array]:
        return [value.numpy().copy() for value in self._binding.get_outputs()]


def _input(argument: Any) -> Input:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return Input(argument.name, shape, DTYPES.get(kind, kind))
