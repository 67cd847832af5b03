"""Static and dynamic quantization with torchao's PT2E flow: prepare, calibrate, correct, convert.

Static int8 for XNNPACK, for OpenVINO and for TorchInductor, dynamic for XNNPACK, each by its backend's quantizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.transforms import bias
from farm.recipes.transforms.attention import AS_TRANSFORMER, program_attends

_FAILED = "Quantization (PT2E) failed"
_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be quantized."


Export = Callable[[Any], Any]


@dataclass(frozen=True)
class Quantized:
    """``program``: a ``torch.export.ExportedProgram`` with quantize and dequantize nodes around int8 operators."""

    program: Any
    notes: tuple[str, ...]


def quantize(
    exported: Any, calibration: Sequence[tuple[Any, ...]], export: Export | None = None, quantizer: Any = None
) -> Quantized:
    """``calibration``: samples of torch tensors in the order of the inputs. ``export``: of the quantized module,
    default in the shapes of a sample; ``quantizer``: default XNNPACK's. Raises RecipeError."""
    with Boundary(RecipeError, _FAILED, _REMEDY):
        import torch
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        module = integers_as_tensors(exported.module(check_guards=False))
        module.graph.eliminate_dead_code()  # TorchInductor's quantizer fails over layers that nothing uses
        module.recompile()
        prepared = prepare_pt2e(module, quantizer or _xnnpack())
        fused = fuse_clamps(prepared)
        with torch.no_grad():
            corrected = _calibrate(prepared, calibration)
            converted = convert_pt2e(prepared)
            program = export(converted) if export else torch.export.export(converted, calibration[0], strict=False)
    notes = (f"{fused} activations fused into the layer before them.", f"Bias corrected in {corrected} layers.")
    return Quantized(program, notes)


def _xnnpack() -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )

    return XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))


def quantize_dynamic(
    exported: Any, example: tuple[Any, ...], dtype: Literal["int8", "int4"], export: Export | None = None
) -> Quantized:
    """Weights of linear layers in ``dtype`` per output channel, their inputs in int8 by the range of each inference.
    Raises RecipeError, also where there are no linear layers."""
    with Boundary(RecipeError, _FAILED, _REMEDY):
        import torch
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        linear = torch.ops.aten.linear.default
        low, high = {"int8": (-127, 127), "int4": (-8, 7)}[dtype]
        dynamic = get_symmetric_quantization_config(
            is_per_channel=True, is_dynamic=True, weight_qmin=low, weight_qmax=high
        )
        module = integers_as_tensors(exported.module(check_guards=False))
        prepared = prepare_pt2e(module, XNNPACKQuantizer().set_operator_type(linear, dynamic))
        count = sum(node.target == linear for node in prepared.graph.nodes)
        if not count:
            raise RecipeError(
                "The program has no linear layers, and XNNPACK computes no others in dynamic quantization.",
                remedy="Use static int8, with calibration inputs.",
            )
        with torch.no_grad():
            prepared(*example)  # the weights' ranges
            converted = convert_pt2e(prepared)
            program = export(converted) if export else torch.export.export(converted, example, strict=False)
    return Quantized(program, (f"{count} linear layers quantized, all else in floating point.",))


def quantize_for_openvino(
    exported: Any, calibration: Sequence[tuple[Any, ...]], export: Export | None = None
) -> Quantized:
    """Static int8 by NNCF, with its own correction of biases. Raises RecipeError."""
    with Boundary(RecipeError, _FAILED, _REMEDY):
        import torch
        from executorch.backends.openvino.quantizer import quantize_model
        from executorch.backends.openvino.quantizer.quantizer import QuantizationMode

        module = exported.module(check_guards=False)
        module.graph.eliminate_dead_code()  # NNCF loses layers that nothing uses, and looks for them later
        module.recompile()
        attends = program_attends(module.graph)
        mode = QuantizationMode.INT8_TRANSFORMER if attends else QuantizationMode.INT8_SYM
        with torch.no_grad():
            quantized = quantize_model(
                module, calibration, mode=mode, smooth_quant=attends, subset_size=len(calibration)
            )
            program = export(quantized) if export else torch.export.export(quantized, calibration[0], strict=False)
    return Quantized(program, ("Quantized and corrected by NNCF.", *([AS_TRANSFORMER] if attends else [])))


def integers_as_tensors(module: Any) -> Any:
    """Numbers that are added to integer tensors, and those that multiply them, become integer tensors.

    XNNPACKQuantizer makes float tensors of such numbers wherever they occur: positions and indices would become
    floats, and what is looked up by them would fail.
    """
    import torch

    aten = torch.ops.aten
    for node in list(module.graph.nodes):
        if node.target not in (aten.add.Tensor, aten.mul.Tensor) or node.meta["val"].is_floating_point():
            continue
        for index, number in enumerate(node.args):
            if isinstance(number, torch.fx.Node):
                continue
            name, tensor = f"_integer_{node.name}_{index}", torch.tensor(number)
            module.register_buffer(name, tensor)
            with module.graph.inserting_before(node):
                constant = module.graph.get_attr(name)
            constant.meta["val"] = node.meta["val"].fake_mode.from_tensor(tensor, static_shapes=True)
            node.update_arg(index, constant)
    module.recompile()
    return module


def fuse_clamps(prepared: Any) -> int:
    """Remove the observers between a convolution or linear layer and its ReLU6, and count them.

    XNNPACKQuantizer fuses ReLU only. With ReLU6 (hardtanh) it would quantize the layer's output before the clamp:
    the range goes to values that the clamp drops, and XNNPACK cannot fuse the two.
    """
    import torch

    aten = torch.ops.aten
    clamps = {aten.hardtanh.default, aten.hardtanh_.default, aten.relu6.default, aten.relu6_.default}
    fused = 0
    for node in list(prepared.graph.nodes):
        if node.target not in clamps:
            continue
        observer = node.args[0]
        alone = observer.op == "call_module" and len(observer.users) == 1 and len(observer.args[0].users) == 1
        if alone and observer.args[0] in set(_layers(prepared)):
            node.replace_input_with(observer, observer.args[0])
            prepared.graph.erase_node(observer)
            fused += 1
    prepared.recompile()
    return fused


def _layers(prepared: Any) -> Iterator[Any]:
    """Nodes of convolution and linear layers, with weight, and with a kernel of (outputs, inputs / groups, ...)."""
    import torch

    aten = torch.ops.aten
    targets = {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.linear.default}
    return (node for node in prepared.graph.nodes if node.target in targets)


def _calibrate(prepared: Any, calibration: Sequence[tuple[Any, ...]]) -> int:
    """Run the samples through the observers and correct the biases. Returns the number of corrected layers."""
    import torch

    layers = list(_layers(prepared))
    means: dict[Any, Any] = dict.fromkeys(layers, 0.0)

    class Recorder(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            if node in means:
                values = self.env[node.args[0]]
                axis = -1 if node.target == torch.ops.aten.linear.default else 1
                means[node] = means[node] + bias.channel_mean(values.numpy(), axis) / len(calibration)
            return super().run_node(node)

    for sample in calibration:
        Recorder(prepared).run(*sample)
    return sum(_correct(prepared, node, means[node]) for node in layers)


def _correct(prepared: Any, node: Any, input_mean: Any) -> bool:
    """Correct one layer in place; False where it has no bias of its own or no observed weight."""
    import torch
    from torchao.quantization.pt2e import PerChannelMinMaxObserver

    observer_node = node.args[1]
    if len(node.args) < 3 or node.args[2] is None or observer_node.op != "call_module":
        return False
    observer = prepared.get_submodule(observer_node.target)
    if not isinstance(observer, PerChannelMinMaxObserver) or len(node.args[2].users) != 1:
        return False  # a bias that several layers share has no one correction
    weight = _attribute(prepared, observer_node.args[0].target)
    offset = _attribute(prepared, node.args[2].target)
    scale, zero_point = observer.calculate_qparams()
    quantized = torch.fake_quantize_per_channel_affine(
        weight, scale, zero_point.to(torch.int32), observer.ch_axis, observer.quant_min, observer.quant_max
    )
    groups = node.args[6] if len(node.args) > 6 else 1
    correction = bias.shift(weight.detach().numpy(), quantized.detach().numpy(), input_mean, groups)
    offset.data.add_(torch.from_numpy(correction).to(offset.dtype))
    return True


def _attribute(module: Any, target: str) -> Any:
    """A parameter or buffer by its dotted name."""
    *path, name = target.split(".")
    return getattr(module.get_submodule(".".join(path)), name)
