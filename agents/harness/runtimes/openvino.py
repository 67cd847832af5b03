"""OpenVINO on the device that option ``device`` names (``cpu``, ``gpu``, ``npu``), one stream, for latency.

Inside a measured inference: ``InferRequest.infer`` with inputs in tensors that share memory with the arrays given and
outputs left in the request's own tensors. Loading includes compiling the model for the device.

What to compute in comes with the model (see ``farm/recipes/runtimes/openvino.py``) and is demanded: float32 is never
lowered to bfloat16 as OpenVINO would, bfloat16 is refused where the device has none. float16 alone is what the device
makes of it: without such arithmetic it computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from agents.harness.failure import Failure
from agents.harness.profile import Profiled, summed, timed
from agents.harness.runtimes import Files, Options, check_threads
from agents.harness.tensors import Array, Input

CAPABILITIES = {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}


class Runtime:
    files = ("model.xml", "model.bin")
    distributions = ("openvino",)
    extra = "openvino"

    def __init__(self, threads: int) -> None:
        import openvino

        self._openvino, self._threads = openvino, threads
        self._core = openvino.Core()

    def load(self, files: Files, options: Options) -> _Program:
        device = str(options.get("device", "cpu")).upper()
        self._check_device(device)
        model = self._core.read_model(*(files[name] for name in self.files))
        settings = self._settings(model, device)
        compiled = self._core.compile_model(model, device, settings)
        if device == "CPU":
            check_threads(compiled.get_property("INFERENCE_NUM_THREADS"), self._threads)
        counting = partial(self._core.compile_model, model, device, {**settings, "PERF_COUNT": True})
        return _Program(compiled, partial(self._openvino.Tensor, shared_memory=True), counting)

    def _check_device(self, device: str) -> None:
        available = self._core.available_devices
        if not any(name.split(".")[0] == device for name in available):
            raise Failure(
                "backend-missing",
                f"OpenVINO has no device {device} here; it has {', '.join(available) or 'none'}.",
                remedy="Choose a recipe with another option device, or install the device's driver.",
                fault="recipe",
            )

    def _settings(self, model: Any, device: str) -> Mapping[str, Any]:
        precision = model.get_rt_info(["farm", "precision"]).astype(str) if model.has_rt_info(["farm"]) else "f32"
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        capabilities = self._core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        if CAPABILITIES[precision] not in capabilities:
            if precision == "bf16":
                raise Failure(
                    "precision-missing",
                    f"OpenVINO does not compute in bfloat16 on this {device}; it has {', '.join(capabilities)}.",
                    remedy="Choose another recipe for this device: fp32, fp16 or int8.",
                    fault="recipe",
                )
            precision = "f32"
        settings["INFERENCE_PRECISION_HINT"] = precision
        if device == "CPU":
            group = ["farm", "dynamic_quantization_group_size"]
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = (
                int(model.get_rt_info(group).astype(str)) if model.has_rt_info(group) else 0
            )
            settings["INFERENCE_NUM_THREADS"] = self._threads
            settings["ENABLE_CPU_PINNING"] = False  # the harness pins the process
        return settings


class _Program:
    def __init__(self, compiled: Any, to_tensor: Callable[[Array], Any], counting: Callable[[], Any]) -> None:
        self._counting = counting
        self._request, self._to_tensor = compiled.create_infer_request(), to_tensor
        self._output_count = len(compiled.outputs)
        self._held: list[Any] = []
        self.inputs = [_input(each) for each in compiled.inputs]

    def bind(self, sample: Sequence[Array]) -> Callable[[], Any]:
        self._held = [self._to_tensor(array) for array in sample]
        for position, tensor in enumerate(self._held):
            self._request.set_input_tensor(position, tensor)
        return partial(self._request.infer, share_outputs=True)

    def outputs(self, returned: Any) -> list[Array]:
        return [self._request.get_output_tensor(position).data.copy() for position in range(self._output_count)]

    def profile(self, sample: Sequence[Array], runs: int) -> Profiled:
        """By OpenVINO's performance counters, in a model compiled anew; what it fused is one operator."""
        program = _Program(self._counting(), self._to_tensor, self._counting)
        run = program.bind(sample)
        run()
        seconds: list[float] = []
        calls: list[tuple[str, str, str, float]] = []
        for _ in range(runs):
            seconds += timed(run, 1)
            calls += _executed(program._request.profiling_info)
        return Profiled("OpenVINO's performance counters", seconds, summed(calls))


def _executed(nodes: Iterable[Any]) -> Iterator[tuple[str, str, str, float]]:
    """Nodes of the last inference, with the kernel that ran each; what was folded into others did not run."""
    for node in nodes:
        if node.status == node.Status.EXECUTED:
            yield node.node_name, node.node_type, node.exec_type, node.real_time.total_seconds()


def _input(port: Any) -> Input:
    shape = tuple(size.get_length() if size.is_static else None for size in port.get_partial_shape())
    return Input(port.get_any_name(), shape, port.get_element_type().to_dtype().name)
