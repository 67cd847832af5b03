"""ExecuTorch: a ``.pte`` program on the portable runtime with the delegates that its build holds.

Inside a measured inference: ``ExecuTorchModule.forward`` with CPU tensors: wrapping them as ExecuTorch tensors (inputs
that the program's memory plan owns are copied), executing, and wrapping the outputs without copying them, so they are
valid until the next call. Some releases load the method, with the delegate's packing of weights, on the first call.

Option ``backend`` demands that this build of the runtime has that delegate, and that it is ready here. pip's for Linux
has XNNPACK, and OpenVINO's and QNN's, which load libraries of their own: OpenVINO's are looked for in its pip package.
That one takes as many threads as the process has CPUs; no interface of it says otherwise.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options, check_threads, needs_apple
from agents.harness.tensors import Array, Input

BACKENDS = {
    "xnnpack": "XnnpackBackend",
    "vulkan": "VulkanBackend",
    "coreml": "CoreMLBackend",
    "openvino": "OpenvinoBackend",
    "qnn": "QnnBackend",
}

# executorch/runtime/core/portable_type/scalar_type.h
SCALAR_TYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}


class Runtime:
    files = ("model.pte",)
    distributions = ("executorch", "torch")
    extra = "executorch"

    def __init__(self, threads: int) -> None:
        import torch  # the bindings take and return its tensors

        # Not executorch.runtime or portable_lib: they pull in the exporter, which no device needs.
        from executorch.extension.pybindings import _portable_lib
        from executorch.kernels import quantized  # noqa: F401 - registers what a delegate leaves over of int8 programs

        self._torch, self._library, self._threads = torch, _portable_lib, threads
        torch.set_num_threads(threads)
        _portable_lib._unsafe_reset_threadpool(threads)
        check_threads(_portable_lib._threadpool_get_thread_count(), threads)

    def load(self, files: Files, options: Options) -> _Program:
        backend, path = str(options.get("backend", "portable")), files[self.files[0]]
        self._check_backend(backend)
        if backend != "openvino":
            return _Program(self._library._load_for_executorch(str(path)), self._torch.from_numpy)
        # OpenVINO goes on reading what it was loaded from, which ExecuTorch frees: a segmentation fault, unless the
        # file is in memory that stays.
        content = path.read_bytes()
        return _Program(self._library._load_for_executorch_from_buffer(content), self._torch.from_numpy, content)

    def _check_backend(self, backend: str) -> None:
        if backend == "portable":
            return
        name, registered = BACKENDS.get(backend), self._library._get_registered_backend_names()
        if name not in registered:
            if backend == "coreml":
                raise needs_apple("ExecuTorch's Core ML backend")
            raise _missing(
                f"This build of ExecuTorch has no backend {backend!r}; it has {', '.join(registered) or 'none'}.",
                "Install a build of executorch with it on the device, or choose another recipe.",
            )
        if backend == "openvino":
            self._prepare_openvino()
        if backend == "qnn":
            _check_qnn()
        if not self._library._is_available(name):
            raise _missing(
                f"ExecuTorch's backend {backend!r} is not ready on this device; the log's end may say why.",
                "Install what it loads on the device, or choose another recipe.",
            )

    def _prepare_openvino(self) -> None:
        check_threads(len(os.sched_getaffinity(0)), self._threads)
        package = importlib.util.find_spec("openvino")
        if os.environ.get("OPENVINO_LIB_PATH") or package is None or package.origin is None:
            return
        for library in Path(package.origin).with_name("libs").glob("libopenvino_c.so*"):
            os.environ["OPENVINO_LIB_PATH"] = str(library)


def _check_qnn() -> None:
    # The backend says that it is available before it has looked for this.
    try:
        ctypes.CDLL("libQnnHtp.so")
    except OSError as error:
        raise _missing(
            f"ExecuTorch's backend 'qnn' does not find Qualcomm's libraries on this device: {error}.",
            "Run it on a device with a Qualcomm NPU, with the QNN SDK's libraries on its LD_LIBRARY_PATH.",
        ) from error


def _missing(message: str, remedy: str) -> Failure:
    return Failure("backend-missing", message, remedy=remedy, fault="recipe")


class _Program:
    def __init__(self, module: Any, to_tensor: Callable[[Array], Any], content: bytes = b"") -> None:
        self._module, self._to_tensor, self._content = module, to_tensor, content
        method = module.method_meta("forward")
        self.inputs = [_input(index, method.input_tensor_meta(index)) for index in range(method.num_inputs())]

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        return partial(self._module.forward, tuple(map(self._to_tensor, sample)), clone_outputs=False)

    def outputs(self, returned: Any) -> list[Array]:
        return [np.array(output) for output in returned]

    def profile(self, sample: Sequence[Array], runs: int) -> str:
        # The released wheel answers has_etdump() with True, and then finds no data to write.
        return (
            "ExecuTorch's event trace (ETDump) takes a build with EXECUTORCH_ENABLE_EVENT_TRACER, which the released "
            "wheel is not, and this harness reads none"
        )


def _input(index: int, meta: Any) -> Input:
    # The sizes are upper bounds where the program was exported with dynamic shapes; it does not tell whether it was.
    return Input(f"input_{index}", tuple(meta.sizes()), SCALAR_TYPES.get(meta.dtype()), at_most=True)
