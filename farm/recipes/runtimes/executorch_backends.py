"""ExecuTorch's backends: what hands a program over to each, and how much of it each took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from farm.types import Delegation

# By option ``backend``: distributions, and ``$VARIABLES`` that lead to SDKs, beside ExecuTorch itself.
TOOLS: dict[str, tuple[str, ...]] = {
    "xnnpack": (),
    "portable": (),
    "vulkan": (),
    "coreml": ("coremltools",),
    "openvino": ("openvino", "nncf"),
    "qnn": ("$QNN_SDK_ROOT", "py-cpuinfo"),
}

# What quantized graphs say between the operators; delegates fuse it into these.
_QUANTIZING = ("quantized_decomposed.", "torchao.")


def lower(exported: Any, backend: str, example: tuple[Any, ...], *, half: bool = False) -> Any:
    """The ``EdgeProgramManager`` of a program of which the backend has what it takes. ``half``: Core ML computes in
    float16. Raises what ExecuTorch raises."""
    if backend == "qnn":
        return _lower_to_qnn(exported, example)
    from executorch.exir import to_edge_transform_and_lower

    return to_edge_transform_and_lower(exported, partitioner=_partitioners(backend, half=half))


def _partitioners(backend: str, *, half: bool) -> list[Any]:
    if backend == "xnnpack":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        return [XnnpackPartitioner()]
    if backend == "vulkan":
        from executorch.backends.vulkan.partitioner.vulkan_partitioner import VulkanPartitioner

        return [VulkanPartitioner()]
    if backend == "coreml":
        return [_coreml(half=half)]
    if backend == "openvino":
        from executorch.backends.openvino.partitioner import OpenvinoPartitioner
        from executorch.exir.backend.backend_details import CompileSpec

        return [OpenvinoPartitioner([CompileSpec("device", b"CPU")])]
    return []  # portable


def _coreml(*, half: bool) -> Any:
    import coremltools
    from executorch.backends.apple.coreml.compiler import CoreMLBackend
    from executorch.backends.apple.coreml.partition import CoreMLPartitioner

    precision = coremltools.precision.FLOAT16 if half else coremltools.precision.FLOAT32  # the default would be 16
    specs = CoreMLBackend.generate_compile_specs(
        minimum_deployment_target=coremltools.target.iOS17, compute_precision=precision
    )
    return CoreMLPartitioner(compile_specs=specs)


def _lower_to_qnn(exported: Any, example: tuple[Any, ...]) -> Any:
    """For the HTP in float16, of any SoC: the graph is prepared for it when the device loads it."""
    from executorch.backends.qualcomm.serialization.qc_schema import QcomChipset
    from executorch.backends.qualcomm.utils.utils import (
        generate_htp_compiler_spec,
        generate_qnn_executorch_compiler_spec,
        to_edge_transform_and_lower_to_qnn,
    )

    htp = generate_htp_compiler_spec(use_fp16=True)
    specs = generate_qnn_executorch_compiler_spec(QcomChipset.SM8650, htp, online_prepare=True)
    return to_edge_transform_and_lower_to_qnn(exported.module(), example, specs)


def delegation(edge: Any, program: Any) -> Delegation:
    """Operators by backend, from the lowered ``edge`` program and the ``ExecutorchProgramManager`` made of it.

    ``portable`` are ExecuTorch's own kernels: plain loops in C++. Of what quantizes between operators only that is
    counted which no delegate fused into them.
    """
    operators: Counter[str] = Counter()
    for module in edge.exported_program().graph_module.modules():
        if hasattr(module, "backend_id"):
            taken = _operators(module.original_module.graph_module)
            operators[module.backend_id] += sum(not name.startswith(_QUANTIZING) for name in taken)
    left = Counter(_operators(program.exported_program().graph_module))
    if left:
        operators["portable"] = left.total()
    return Delegation(operators=dict(operators), left_over=dict(left.most_common()))


def _operators(module: Any) -> Iterator[str]:
    """Names (``aten.mean.out``) of the operators that a graph and the branches in it call."""
    import torch
    from executorch.exir.dialects.edge._ops import EdgeOpOverload

    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            calls = (node.target for node in part.graph.nodes if node.op == "call_function")
            plain = (call._op if isinstance(call, EdgeOpOverload) else call for call in calls)
            yield from (str(call) for call in plain if isinstance(call, torch._ops.OpOverload))
