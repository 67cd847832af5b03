"""The operators of the classic mobile nets, one translation each: Caffe2's definition in ONNX's terms.

Source: Caffe2's operator catalogue and ``caffe2/operators``. What moves values is in ``layout``, convolutions and
pooling are in ``windows``.
"""

from __future__ import annotations

import math

import numpy as np

from farm.recipes.caffe2 import layout, windows
from farm.recipes.caffe2.step import Step
from farm.recipes.caffe2.windows import Handler


def _plain(kind: str) -> Handler:
    return lambda step: step.one(kind)


def _same(step: Step) -> None:
    step.give(step.inputs[0])


def _clip(step: Step) -> None:
    # Caffe2 takes the limits of the type for a limit that is not written.
    low, high = (step.arguments.get(name) for name in ("min", "max"))
    _clipped(step, None if low is None else step.arguments.number("min", 0),
             None if high is None else step.arguments.number("max", 0))  # fmt: skip


def _relu6(step: Step) -> None:
    _clipped(step, 0.0, 6.0)


def _clipped(step: Step, low: float | None, high: float | None) -> None:
    bounds = [
        "" if bound is None else step.graph.constant(np.array(bound, np.float32), "bound") for bound in (low, high)
    ]
    while bounds and not bounds[-1]:
        bounds.pop()
    step.one("Clip", step.inputs[0], *bounds)


def _hard_sigmoid(step: Step) -> None:
    step.one("HardSigmoid", alpha=step.arguments.number("alpha", 0.2), beta=step.arguments.number("beta", 0.5))


def _leaky_relu(step: Step) -> None:
    step.one("LeakyRelu", alpha=step.arguments.number("alpha", 0.01))


def _elu(step: Step) -> None:
    step.one("Elu", alpha=step.arguments.number("alpha", 1.0))


def _prelu(step: Step) -> None:
    last = step.arguments.channels_last()
    data, slope = step.inputs
    size = math.prod(step.graph.shape(slope))
    after = 0 if last or step.rank() < 2 else step.rank() - 2
    step.one("PRelu", data, slope if size == 1 else step.graph.reshaped(slope, (size, *([1] * after))))


def _swish(step: Step) -> None:
    gate = step.graph.one("Sigmoid", step.inputs, step.outputs[0])
    step.one("Mul", step.inputs[0], gate)


def _softmax(step: Step) -> None:
    """Over all axes from ``axis`` on, as if they were one."""
    axis = step.axis("axis", 1)
    shape = step.graph.shape(step.inputs[0])
    flat = step.graph.reshaped(step.inputs[0], (math.prod(shape[:axis]), math.prod(shape[axis:])))
    made = step.graph.one("Softmax", [flat], step.outputs[0], axis=1)
    step.give(step.graph.reshaped(made, shape))


def _arithmetic(kind: str) -> Handler:
    def translate(step: Step) -> None:
        first, second = step.inputs
        if step.arguments.integer("broadcast", 0):
            second = _aligned(step)
        else:
            _ = [name for name in ("axis", "axis_str") if name in step.arguments]
        step.arguments.get("order")
        step.one(kind, first, second)

    return translate


def _aligned(step: Step) -> str:
    """Caffe2's first kind of broadcasting: the second operand's axes lie on the first one's from ``axis`` on."""
    rank, shape = step.rank(0), step.graph.shape(step.inputs[1])
    axis = step.arguments.integer("axis", -1)
    if (letter := step.arguments.text("axis_str", "")) != "":
        axis = step.arguments.text("order", "NCHW").find(letter)
    if axis == -1:
        axis = rank - len(shape)
    if math.prod(shape) == 1:
        return step.graph.reshaped(step.inputs[1], ())
    if not 0 <= axis <= rank - len(shape):
        raise step.unable(f"broadcasting {list(shape)} from axis {axis} on")
    return step.graph.reshaped(step.inputs[1], (*shape, *([1] * (rank - axis - len(shape)))))


def _sum(step: Step) -> None:
    step.one("Sum") if len(step.inputs) > 1 else _same(step)


def _fully_connected(*, transposed: bool) -> Handler:
    """``y = x W^T + b`` on what comes before and after ``axis`` as two axes."""

    def translate(step: Step) -> None:
        axis = step.axis("axis", 1)
        axis_w = step.axis("axis_w", 1, index=1)
        data, weights, bias = step.inputs
        shape, w_shape = step.graph.shape(data), step.graph.shape(weights)
        flat = step.graph.reshaped(data, (math.prod(shape[:axis]), math.prod(shape[axis:])))
        matrix = step.graph.reshaped(weights, (math.prod(w_shape[:axis_w]), math.prod(w_shape[axis_w:])))
        made = step.graph.one("Gemm", [flat, matrix, bias], step.outputs[0], transB=0 if transposed else 1)
        step.give(step.graph.reshaped(made, (*shape[:axis], step.graph.shape(made)[1])))

    return translate


def _spatial_bn(step: Step) -> None:
    if not step.arguments.integer("is_test", 0):
        raise step.unable("batch norm in training mode (is_test is not set)")
    last = step.arguments.channels_last()
    data = step.channels_first(0, last)
    step.check_channels(data, step.graph.shape(step.inputs[1])[0])
    made = step.graph.one(
        "BatchNormalization",
        [data, *step.inputs[1:5]],
        step.outputs[0],
        epsilon=step.arguments.number("epsilon", 1e-5),
    )
    step.give(made, channels_last=last)


def _instance_norm(step: Step) -> None:
    last = step.arguments.channels_last()
    data = step.channels_first(0, last)
    step.check_channels(data, step.graph.shape(step.inputs[1])[0])
    made = step.graph.one(
        "InstanceNormalization",
        [data, *step.inputs[1:3]],
        step.outputs[0],
        epsilon=step.arguments.number("epsilon", 1e-5),
    )
    step.give(made, channels_last=last)


def _lrn(step: Step) -> None:
    last = step.arguments.channels_last()
    made = step.graph.one(
        "LRN",
        [step.channels_first(0, last)],
        step.outputs[0],
        size=step.arguments.integer("size", 0),
        alpha=step.arguments.number("alpha", 0),
        beta=step.arguments.number("beta", 0),
        bias=step.arguments.number("bias", 1),
    )
    step.give(made, channels_last=last)


def _dropout(step: Step) -> None:
    step.arguments.get("ratio")
    if not step.arguments.integer("is_test", 0):
        raise step.unable("dropout in training mode (is_test is not set)")
    _same(step)


def _resize_nearest(step: Step) -> None:
    """Output pixel ``y`` is input pixel ``floor(y / scale)``."""
    if len(step.inputs) > 1:
        raise step.unable("scales from another blob")
    last = step.arguments.channels_last()
    scales = np.array(
        [1, 1, step.arguments.number("height_scale", 1), step.arguments.number("width_scale", 1)], np.float32
    )
    made = step.graph.one(
        "Resize",
        [step.channels_first(0, last), "", step.graph.constant(scales, "scales")],
        step.outputs[0],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    step.give(made, channels_last=last)


def _mean(step: Step) -> None:
    step.one("ReduceMean", axes=step.arguments.integers("axes"), keepdims=step.arguments.integer("keepdims", 1))


OPERATORS: dict[str, Handler] = {
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "MaxPool": windows.pool("MaxPool"),
    "AveragePool": windows.pool("AveragePool"),
    "FC": _fully_connected(transposed=False),
    "FCTransposed": _fully_connected(transposed=True),
    "SpatialBN": _spatial_bn,
    "InstanceNorm": _instance_norm,
    "LRN": _lrn,
    "Relu": _plain("Relu"),
    "Relu6": _relu6,
    "Clip": _clip,
    "Sigmoid": _plain("Sigmoid"),
    "HardSigmoid": _hard_sigmoid,
    "Tanh": _plain("Tanh"),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "PRelu": _prelu,
    "Swish": _swish,
    "Softmax": _softmax,
    "Exp": _plain("Exp"),
    "Abs": _plain("Abs"),
    "Negative": _plain("Neg"),
    "Sqrt": _plain("Sqrt"),
    "Add": _arithmetic("Add"),
    "Sub": _arithmetic("Sub"),
    "Mul": _arithmetic("Mul"),
    "Div": _arithmetic("Div"),
    "Sum": _sum,
    "ReduceMean": _mean,
    "Dropout": _dropout,
    "ResizeNearest": _resize_nearest,
    "Alias": _same,
    "Copy": _same,
    "StopGradient": _same,
    **layout.OPERATORS,
}
