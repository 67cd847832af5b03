"""MNN on the CPU, in a session of its interpreter.

Inside a measured inference: ``Interpreter.runSession``. The inputs lie in the session's own tensors, which it keeps
from run to run; the outputs are in its tensors afterwards. Loading includes creating the session, where MNN packs the
weights.

Precision ``high`` is float32; ``low`` is float16 where the CPU has it. With memory ``normal`` quantized weights are
computed with in floating point. The converter turns int64 inputs into int32: a sample is narrowed when all its values
fit, and refused otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from agents.harness import signature
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.signature import Signature
from agents.harness.tensors import Array, Input, narrowed

_THREADS = 4  # MNN::Interpreter::THREAD_NUMBER


class Runtime:
    files = ("model.mnn", signature.FILE)
    distributions = ("MNN",)
    extra = "mnn"

    def __init__(self, threads: int) -> None:
        import MNN

        self._mnn, self._threads = MNN, threads

    def load(self, files: Files, options: Options) -> _Program:
        told = Signature.read(files[signature.FILE])
        engine = self._mnn.Interpreter(str(files[self.files[0]]))
        session = engine.createSession({"backend": "CPU", "numThread": self._threads, **told.settings})
        check_threads(_integer(engine.getSessionInfo(session, _THREADS)), self._threads)
        return _Program(self._mnn, engine, session, told)


def _integer(value: float) -> int:
    """The binding takes every figure for a float, also those that MNN writes as an int."""
    return int(struct.unpack("i", struct.pack("f", value))[0])


class _Program:
    def __init__(self, mnn: Any, engine: Any, session: Any, told: Signature) -> None:
        self._mnn, self._engine, self._session, self._told = mnn, engine, session, told
        taken = engine.getSessionInputAll(session)
        self._tensors = [taken[each.name] for each in told.inputs]
        for tensor, each in zip(self._tensors, told.inputs, strict=True):
            if tuple(tensor.getShape()) != each.shape:  # the format may keep no size for it
                engine.resizeTensor(tensor, each.shape)
        engine.resizeSession(session)
        self.inputs = [
            Input(each.name, each.shape, _NARROW.get(each.dtype, each.dtype), narrows=_wider(each.dtype))
            for each in told.inputs
        ]

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        for tensor, each, array in zip(self._tensors, self._told.inputs, sample, strict=True):
            tensor.copyFrom(self._host(tensor, narrowed(each.name, array, "MNN")))
        return partial(self._engine.runSession, self._session)

    def outputs(self, returned: Any) -> list[Array]:
        given = self._engine.getSessionOutputAll(self._session)
        return [self._copied(given[each.name], each.dtype) for each in self._told.outputs]

    def _host(self, tensor: Any, array: Array) -> Any:
        """A tensor in the memory of the host, laid out as PyTorch does."""
        return self._mnn.Tensor(array.shape, tensor.getDataType(), array, self._mnn.Tensor_DimensionType_Caffe)

    def _copied(self, tensor: Any, dtype: str) -> Array:
        host = self._host(tensor, np.zeros(tensor.getShape(), dtype))
        tensor.copyToHostTensor(host)
        return np.array(host.getNumpyData()).reshape(tensor.getShape())


_NARROW = {"int64": "int32"}


def _wider(dtype: str) -> tuple[str, ...]:
    return ("int64",) if dtype == "int64" else ()
