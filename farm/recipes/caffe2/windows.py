"""Convolutions and pooling: Caffe2's several ways of writing kernel, stride, dilation and padding, as ONNX's one.

Sources: ``caffe2/operators/conv_pool_op_base.h``, ``conv_transpose_unpool_op_base.h``, ``pool_op.cc``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from farm.errors import ModelError
from farm.recipes.caffe2.step import Step

_VALID, _SAME, _CAFFE = 1, 2, 3  # LegacyPadding
Handler = Callable[[Step], None]


@dataclass(frozen=True)
class Window:
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # all beginnings, then all ends


def conv(step: Step) -> None:
    arguments = step.arguments
    last = arguments.channels_last()
    data, weights = step.channels_first(0, last), step.channels_first(1, last)
    group = arguments.integer("group", 1)
    step.check_channels(data, group * step.graph.shape(weights)[1])
    window = _window(step, step.graph.shape(data)[2:], kernel=step.graph.shape(weights)[2:])
    made = step.graph.one(
        "Conv",
        [data, weights, *step.inputs[2:3]],
        step.outputs[0],
        kernel_shape=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=window.pads,
        group=group,
    )
    step.give(made, channels_last=last)


def conv_transpose(step: Step) -> None:
    arguments = step.arguments
    last = arguments.channels_last()
    data, weights = step.channels_first(0, last), step.channels_first(1, last)
    step.check_channels(data, step.graph.shape(weights)[0])
    window = _window(step, (), kernel=step.graph.shape(weights)[2:])
    size = len(window.kernel)
    adjusts = _several(step, "adj", "adjs", size) or (0,) * size
    made = step.graph.one(
        "ConvTranspose",
        [data, weights, *step.inputs[2:3]],
        step.outputs[0],
        kernel_shape=window.kernel,
        strides=window.strides,
        pads=window.pads,
        output_padding=adjusts,
        group=arguments.integer("group", 1),
    )
    step.give(made, channels_last=last)


def pool(kind: str) -> Handler:
    def translate(step: Step) -> None:
        arguments = step.arguments
        last = arguments.channels_last()
        data = step.channels_first(0, last)
        if arguments.integer("global_pooling", 0):
            _window(step, (), kernel=None)
            step.give(step.graph.one(f"Global{kind}", [data], step.outputs[0]), channels_last=last)
            return
        window = _window(step, step.graph.shape(data)[2:], kernel=None)
        attributes = {"kernel_shape": window.kernel, "strides": window.strides, "pads": window.pads}
        if kind == "MaxPool":
            attributes["dilations"] = window.dilations
        else:
            if set(window.dilations) - {1}:
                raise step.unable("average pooling with dilation")
            attributes["count_include_pad"] = arguments.integer("count_include_pad", 0)  # type: ignore[assignment]
        step.give(step.graph.one(kind, [data], step.outputs[0], **attributes), channels_last=last)

    return translate


def _window(step: Step, sizes: tuple[int, ...], kernel: tuple[int, ...] | None) -> Window:
    """``sizes``: of the image, where padding may depend on it; ``kernel``: of the weights."""
    arguments = step.arguments
    written = _several(step, "kernel", "kernels", 2)
    if kernel is not None and written and written != kernel:
        raise step.unable(f"a kernel of {list(written)} with weights of {list(kernel)}")
    kernel = kernel or written
    rank = len(kernel or sizes)
    strides = _several(step, "stride", "strides", 2) or (1,) * rank
    dilations = _several(step, "dilation", "dilations", 2) or (1,) * rank
    pads = _pads(step) or (0,) * (2 * rank)
    legacy = arguments.integer("legacy_pad", 0)
    if not kernel:
        return Window((), strides, dilations, pads)
    if (len(strides), len(dilations), len(pads)) != (rank, rank, 2 * rank) or min(*kernel, *strides, *dilations) < 1:
        raise step.unable("kernel, strides, dilations and pads that do not fit each other")
    if min(pads) < 0:
        raise step.unable("negative padding")
    if legacy in (_SAME, _CAFFE):
        if not sizes:
            raise step.unable(f"legacy_pad={legacy} here")
        axes = [
            _legacy(step, legacy, size, kernel[axis], strides[axis], dilations[axis], pads[axis])
            for axis, size in enumerate(sizes)
        ]
        pads = (*(head for head, _ in axes), *(tail for _, tail in axes))
    elif legacy not in (0, _VALID):
        raise step.arguments.wrong("legacy_pad", "0 to 3")
    return Window(kernel, strides, dilations, pads)


def _legacy(step: Step, legacy: int, size: int, kernel: int, stride: int, dilation: int, head: int) -> tuple[int, int]:
    """Padding before and after, along one axis."""
    if dilation != 1:
        raise step.unable("legacy padding with dilation")
    if legacy == _SAME:
        needed = (math.ceil(size / stride) - 1) * stride + kernel - size
        if needed < 0:
            raise step.unable("legacy padding SAME with strides over its kernel")
        return needed // 2, needed - needed // 2
    # Caffe rounds the output's size up, and lets no window begin in the padding behind.
    count = math.ceil((size + 2 * head - kernel) / stride) + 1
    if head > 0 and (count - 1) * stride >= size + head:
        count -= 1
    return head, max(0, (count - 1) * stride + kernel - size - head)


def _several(step: Step, name: str, plural: str, rank: int) -> tuple[int, ...]:
    """``kernel=3``, ``kernel_h=3, kernel_w=5`` or ``kernels=[3, 5]``; empty where none is written."""
    arguments = step.arguments
    height, width = f"{name}_h", f"{name}_w"
    if (listed := arguments.integers(plural)) != ():
        return listed
    if name in arguments:
        return (arguments.integer(name, 0),) * rank
    if height in arguments and width in arguments:
        return arguments.integer(height, 0), arguments.integer(width, 0)
    return ()


def _pads(step: Step) -> tuple[int, ...]:
    arguments = step.arguments
    sides = ("pad_t", "pad_l", "pad_b", "pad_r")
    if listed := arguments.integers("pads"):
        return listed
    if "pad" in arguments:
        return (arguments.integer("pad", 0),) * 4
    present = [side in arguments for side in sides]
    if any(present) and not all(present):
        raise ModelError(f"{step.operator} has padding on some sides only.", remedy="Write pad_t, pad_l, pad_b, pad_r.")
    return tuple(arguments.integer(side, 0) for side in sides) if all(present) else ()
