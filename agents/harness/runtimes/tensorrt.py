"""TensorRT on an NVIDIA GPU.

Inside a measured inference: ``IExecutionContext.execute_async_v3`` on a stream of its own, and the wait for that
stream. Inputs and outputs lie in the GPU's memory; carrying them there and back is not measured. Threads are of no
account: the host only launches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.harness import signature
from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options
from agents.harness.signature import Signature
from agents.harness.tensors import Array


class Runtime:
    files = ("model.engine", signature.FILE)
    distributions = ("tensorrt", "cuda-python")
    extra = "tensorrt"

    def __init__(self, threads: int) -> None:
        import tensorrt
        from cuda.bindings import runtime as cuda

        self._tensorrt, self._cuda = tensorrt, Cuda(cuda)
        self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)  # to the harness's own log

    def load(self, files: Files, options: Options) -> _Program:
        told = Signature.read(files[signature.FILE])
        loader = self._tensorrt.Runtime(self._logger)
        engine = loader.deserialize_cuda_engine(files[self.files[0]].read_bytes())
        if engine is None:
            raise ValueError(
                f"TensorRT {self._tensorrt.__version__} does not load the engine: it is bound to the version that "
                "built it and to GPUs like the one it was built on"
            )
        return _Program(engine, engine.create_execution_context(), self._cuda, told)


class Cuda:
    """What the harness needs of the CUDA runtime. Every call raises Failure ``cuda-failed``."""

    def __init__(self, bindings: Any) -> None:
        self._bindings = bindings

    def stream(self) -> int:
        return int(self._checked("cudaStreamCreate"))

    def allocate(self, size_bytes: int) -> int:
        return int(self._checked("cudaMalloc", max(size_bytes, 1)))

    def to_device(self, address: int, array: Array) -> None:
        kind = self._bindings.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked("cudaMemcpy", address, array.ctypes.data, array.nbytes, kind)

    def to_host(self, array: Array, address: int) -> None:
        kind = self._bindings.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked("cudaMemcpy", array.ctypes.data, address, array.nbytes, kind)

    def wait(self, stream: int) -> None:
        self._checked("cudaStreamSynchronize", stream)

    def _checked(self, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._bindings, name)(*arguments)
        if error != self._bindings.cudaError_t.cudaSuccess:
            raise Failure(
                "cuda-failed",
                f"{name} failed: {error}.",
                remedy="Check the GPU with nvidia-smi; free memory on it, or mend its driver.",
                fault="device",
            )
        return values[0] if values else None


class _Program:
    def __init__(self, engine: Any, context: Any, cuda: Cuda, told: Signature) -> None:
        self._engine, self._context, self._cuda, self._told = engine, context, cuda, told
        self._stream = cuda.stream()
        self._addresses: dict[str, int] = {}
        self.inputs = told.expected
        for each in told.inputs:
            self._place(each.name, each.shape, each.dtype)
            context.set_input_shape(each.name, each.shape)
        for each in told.outputs:
            self._place(each.name, tuple(context.get_tensor_shape(each.name)), each.dtype)

    def _place(self, name: str, shape: tuple[int, ...], dtype: str) -> None:
        if any(size < 0 for size in shape):
            raise Failure(
                "dynamic-output",
                f"The shape of {name} depends on the values of the inputs: {list(shape)}.",
                remedy="Choose another runtime for this model, or pad that output to a fixed shape.",
                fault="recipe",
            )
        self._addresses[name] = self._cuda.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self._context.set_tensor_address(name, self._addresses[name])

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        for each, array in zip(self._told.inputs, sample, strict=True):
            self._cuda.to_device(self._addresses[each.name], array)
        execute, wait, stream = self._context.execute_async_v3, self._cuda.wait, self._stream

        def run() -> None:
            if not execute(stream):
                raise RuntimeError("TensorRT did not start the inference; its reason is in the log")
            wait(stream)

        return run

    def outputs(self, returned: Any) -> list[Array]:
        arrays = []
        for each in self._told.outputs:
            array = np.empty(tuple(self._context.get_tensor_shape(each.name)), each.dtype)
            self._cuda.to_host(array, self._addresses[each.name])
            arrays.append(array)
        return arrays
