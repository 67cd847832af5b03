"""ncnn on the CPU.

Inside a measured inference: a new ``Extractor`` (ncnn keeps results in it, so one serves one inference), handing it the
inputs, which lie in ncnn's own matrices, and extracting every output; the outputs stay in ncnn's memory.

Of a float32 artifact everything is computed in float32, though ncnn would use float16 where the CPU has it; of a
float16 artifact ncnn decides. int64 samples are narrowed to int32 when all their values fit, and refused otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from agents.harness import signature
from agents.harness.failure import Failure
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.signature import Signature
from agents.harness.tensors import Array, narrowed

_NO_BATCH = 233  # ncnn's own number for it


class Runtime:
    files = ("model.ncnn.param", "model.ncnn.bin", signature.FILE)
    distributions = ("ncnn",)
    extra = "ncnn"

    def __init__(self, threads: int) -> None:
        import ncnn

        self._ncnn, self._threads = ncnn, threads
        ncnn.set_omp_num_threads(threads)

    def load(self, files: Files, options: Options) -> _Program:
        told = Signature.read(files[signature.FILE])
        net = self._ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = self._threads
        check_threads(net.opt.num_threads, self._threads)
        half = told.settings["precision"] == "float16"
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = half
        for name, load in ((self.files[0], net.load_param), (self.files[1], net.load_model)):
            if code := load(str(files[name])):
                raise ValueError(f"ncnn does not load {name} (code {code})")
        return _Program(self._ncnn, net, told)


class _Program:
    def __init__(self, ncnn: Any, net: Any, told: Signature) -> None:
        self._ncnn, self._net, self._told = ncnn, net, told
        self._batch_axes: dict[str, int] = told.settings["batch_axes"]
        self.inputs = told.expected

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        names = [each.name for each in self._told.inputs]
        inputs = [
            # Cloned: ncnn pads rows and channels to its own alignment.
            (name, self._ncnn.Mat(narrowed(name, array, "ncnn"), batch_index=self._batch_axis(name)).clone())
            for name, array in zip(names, sample, strict=True)
        ]
        wanted = [each.name for each in self._told.outputs]
        create = self._net.create_extractor

        def run() -> list[tuple[int, Any]]:
            extractor = create()
            for name, mat in inputs:
                extractor.input(name, mat)
            return [extractor.extract(name) for name in wanted]

        return run

    def outputs(self, returned: Any) -> list[Array]:
        return [
            self._array(each.name, each.shape, *result)
            for each, result in zip(self._told.outputs, returned, strict=True)
        ]

    def _array(self, name: str, shape: tuple[int, ...], code: int, mat: Any) -> Array:
        if code:
            raise Failure(
                "inference-failed",
                f"ncnn computed no {name} (code {code}).",
                remedy="Choose another recipe for this model.",
                fault="recipe",
            )
        array: Array = mat.numpy(batch_index=self._batch_axis(name)).copy()
        return array.reshape(shape) if array.size == math.prod(shape) else array

    def _batch_axis(self, name: str) -> int:
        return self._batch_axes.get(name, _NO_BATCH)
