"""ExecuTorch, lowered to one of its backends; what the backend does not take runs on portable kernels.

Quantized in PyTorch 2 Export form (PT2E) by the quantizer that belongs to the backend: XNNPACK's (static, dynamic) or
OpenVINO's (static).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes import executorch_backends as backends
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, Delegation, ModelFormat, Quantize, Recipe
from farm.types.recipes import FAMILIES

FILES = ("model.pte",)
VERSION = 3
TOOLS = ("torch", "executorch", "torchao")
TOOLS_FOR = {f"backend={backend}": tools for backend, tools in backends.TOOLS.items()}
EXTRA = "executorch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
_QUANTIZED = ("int8-static", "int8-dynamic", "int4-dynamic")
_QUANTIZERS = {"xnnpack": _QUANTIZED, "openvino": ("int8-static",)}
# coremltools takes no mixture of types: Core ML is told what to compute in, and the program stays as it is.
NATIVE = (*_QUANTIZED, "fp16 backend=coreml")
REFUSES = {
    f"{label} backend={backend}": f"its backend {backend} computes that in floating point; {able} can"
    for label in _QUANTIZED
    for able in [" and ".join(name for name, labels in _QUANTIZERS.items() if label in labels)]
    for backend in backends.TOOLS
    if label not in _QUANTIZERS.get(backend, ())
}
REFUSES |= {
    "fp16 backend=qnn": "QNN's NPU computes in fp16 already",
    "channels-last": "its converter and kernels choose the layout themselves",
}
OPTIONS: dict[str, Values] = {"backend": tuple(backends.TOOLS)}


def _preset(backend: str, quantize: Quantize | None = None, suffix: str = "", **fields: Any) -> Recipe:
    transforms = (quantize,) if quantize else ()
    name = f"executorch-{backend}{suffix}"
    return Recipe("executorch", name=name, transforms=transforms, options={"backend": backend}, **fields)


PRESETS = (
    (_preset("xnnpack"), "ExecuTorch on XNNPACK, fp32."),
    (_preset("xnnpack", Quantize(), "-int8"), "ExecuTorch on XNNPACK, static int8 (PT2E)."),
    (
        _preset("xnnpack", Quantize(mode="dynamic"), "-int8-dynamic"),
        "ExecuTorch on XNNPACK, linear layers in dynamic int8 (PT2E).",
    ),
    (_preset("portable"), "ExecuTorch on its portable kernels, fp32: the reference, very slow."),
    (_preset("vulkan"), "ExecuTorch on Vulkan: GPUs of Android phones."),
    (_preset("coreml"), "ExecuTorch on Core ML, fp32: Apple's devices."),
    # The runtime compiles at load, and takes bfloat16 where the CPU computes in it. No option of it says otherwise.
    (_preset("openvino", parity=FAMILIES["bf16"]), "ExecuTorch on OpenVINO, fp32, or bf16 where the CPU has it."),
    (_preset("openvino", Quantize(), "-int8"), "ExecuTorch on OpenVINO, static int8 (NNCF)."),
    (_preset("qnn", parity=FAMILIES["fp16"]), "ExecuTorch on QNN, fp16: Qualcomm's NPU."),
    *compressed.presets(
        "executorch",
        "ExecuTorch on XNNPACK",
        "pruned50-structured",
        "distilled",
        "distilled-int8",
        prefix="executorch-xnnpack",
        options={"backend": "xnnpack"},
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by ExecuTorch."


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    notes: list[str] = []
    backend = str(recipe.options["backend"])
    quantizations = [transform for transform in recipe.transforms if isinstance(transform, Quantize)]
    exported = None if quantizations else _named(program)
    for quantize in quantizations:
        exported, more = _quantized(program, quantize, backend)
        notes += more
    half = any(isinstance(transform, Cast) for transform in recipe.transforms)
    with Boundary(RecipeError, f"ExecuTorch does not convert the program for {backend}", _REMEDY):
        edge = backends.lower(exported, backend, program.tensors(), half=half)
        lowered = edge.to_executorch()
        delegation = backends.delegation(edge, lowered)
    if backend != "portable":
        notes += _left_over(delegation, backend)
    (folder / FILES[0]).write_bytes(lowered.buffer)
    return Built(tuple(notes), delegation)


def _named(program: Program) -> Any:
    """The ``ExportedProgram``, exported anew where names of its weights begin with a digit, as those of a
    ``torch.nn.Sequential`` do: ExecuTorch's pass that folds batch norms makes names of graph nodes from them and does
    not find these again."""
    import torch

    exported = program.exported()
    if not any(name[:1].isdigit() for name in exported.state_dict):
        return exported

    class Named(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = exported.module(check_guards=False)

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.model(*inputs)

    with Boundary(RecipeError, "torch.export does not export the program anew", _REMEDY):
        return program.export(Named())


def _quantized(program: Program, transform: Quantize, backend: str) -> tuple[Any, tuple[str, ...]]:
    """The quantized ``ExportedProgram`` and notes."""
    from farm.recipes.transforms import pt2e

    exported = program.exported()
    if transform.mode == "dynamic":
        made = pt2e.quantize_dynamic(exported, program.tensors(), transform.dtype, program.export)
        return made.program, made.notes
    calibration, note = program.calibration_samples()
    samples = [program.tensors(sample) for sample in calibration]
    quantize = pt2e.quantize_for_openvino if backend == "openvino" else pt2e.quantize
    made = quantize(exported, samples, program.export)
    return made.program, (note, *made.notes)


def _left_over(delegation: Delegation, backend: str) -> list[str]:
    if not delegation.left_over:
        return []
    first = list(delegation.left_over.items())[:8]
    names = ", ".join(f"{count} x {name}" for name, count in first)
    more = len(delegation.left_over) - len(first)
    rest = f" and {more} kinds more" if more else ""
    return [f"Not delegated to {backend}, so run by slow portable kernels: {names}{rest}."]
