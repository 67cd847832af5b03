"""ExecuTorch: a ``.pte`` program on the portable runtime with the delegates that its wheel holds (XNNPACK).

Inside a measured inference: ``ExecuTorchModule.forward`` with CPU tensors: wrapping them as ExecuTorch tensors (inputs
that the program's memory plan owns are copied), executing, and wrapping the outputs without copying them, so they are
valid until the next call. Some releases load the method, with the delegate's packing of weights, on the first call.

Option ``backend``: ``xnnpack`` demands that this build of the runtime has that delegate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.tensors import Array, Input

BACKENDS = {"xnnpack": "XnnpackBackend"}

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

        self._torch, self._library = torch, _portable_lib
        torch.set_num_threads(threads)
        _portable_lib._unsafe_reset_threadpool(threads)
        check_threads(_portable_lib._threadpool_get_thread_count(), threads)

    def load(self, files: Files, options: Options) -> _Program:
        self._check_backend(str(options.get("backend", "")))
        return _Program(self._library._load_for_executorch(str(files[self.files[0]])), self._torch.from_numpy)

    def _check_backend(self, backend: str) -> None:
        registered = self._library._get_registered_backend_names()
        if backend and BACKENDS.get(backend) not in registered:
            raise Failure(
                "backend-missing",
                f"This build of ExecuTorch has no backend {backend!r}; it has {', '.join(registered) or 'none'}.",
                remedy="Install a build of executorch with it, or choose another recipe.",
                fault="device",
            )


class _Program:
    def __init__(self, module: Any, to_tensor: Callable[[Array], Any]) -> None:
        self._module, self._to_tensor = module, to_tensor
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
