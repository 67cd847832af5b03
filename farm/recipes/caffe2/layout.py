"""Operators that move values and compute nothing."""

from __future__ import annotations

import math

import numpy as np

from farm.recipes.caffe2.step import Step
from farm.recipes.caffe2.windows import Handler


def _concat(step: Step) -> None:
    axis = step.axis("axis", _channels(step))
    if step.arguments.integer("add_axis", 0):
        raise step.unable("concatenation along a new axis")
    step.one("Concat", axis=axis)


def _split(step: Step) -> None:
    if len(step.inputs) > 1:
        raise step.unable("sizes from another blob")
    axis = step.axis("axis", _channels(step))
    size, count = step.graph.shape(step.inputs[0])[axis], len(step.outputs)
    sizes = step.arguments.integers("split")
    if not sizes and size % count:
        raise step.unable(f"a split of {size} into {count} equal parts")
    sizes = sizes or (size // count,) * count
    if len(sizes) != count or sum(sizes) != size:
        raise step.arguments.wrong("split", f"{count} sizes that make up {size}")
    for name, (start, end) in zip(step.outputs, _spans(sizes), strict=True):
        step.give(_sliced(step, name, axis, start, end))


def _slice(step: Step) -> None:
    starts, ends = step.arguments.integers("starts"), step.arguments.integers("ends")
    shape = step.graph.shape(step.inputs[0])
    if len(step.inputs) > 1 or len(starts) != len(ends) or len(starts) > len(shape):
        raise step.unable("this slice")
    value = step.inputs[0]
    for axis, (start, end) in enumerate(zip(starts, ends, strict=True)):
        # -1 is the end itself, unlike anywhere else: the last element counts as well.
        first, last = (bound if bound >= 0 else shape[axis] + 1 + bound for bound in (start, end))
        if (first, last) != (0, shape[axis]):
            value = _sliced(step, step.outputs[0], axis, first, last, value)
    step.give(value)


def _sliced(step: Step, name: str, axis: int, start: int, end: int, value: str | None = None) -> str:
    bounds = [step.graph.constant(np.array([bound], np.int64), "bound") for bound in (start, end, axis)]
    return step.graph.one("Slice", [value or step.inputs[0], *bounds], name)


def _spans(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]
    return [(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _channels(step: Step) -> int:
    return step.rank() - 1 if step.arguments.channels_last() else 1


def _channel_shuffle(step: Step) -> None:
    step.arguments.get("kernel")
    last = step.arguments.channels_last()
    data, group = step.channels_first(0, last), step.arguments.integer("group", 1)
    count, channels, *image = step.graph.shape(data)
    if group < 1 or channels % group:
        raise step.arguments.wrong("group", f"a divisor of {channels} channels")
    graph = step.graph
    apart = graph.reshaped(data, (count, group, channels // group, *image))
    turned = graph.transposed(apart, (0, 2, 1, *range(3, 3 + len(image))))
    step.give(graph.reshaped(turned, (count, channels, *image)), channels_last=last)


def _reshape(step: Step) -> None:
    """0 keeps a size, -1 is what is left over."""
    shape = step.arguments.integers("shape")
    if len(step.inputs) > 1:
        given = step.graph.value(step.constant(1))
        shape = tuple(int(size) for size in given.ravel()) if given is not None else ()
    source = step.graph.shape(step.inputs[0])
    if any(size == 0 and axis >= len(source) for axis, size in enumerate(shape)) or shape.count(-1) > 1:
        raise step.unable(f"a shape of {list(shape)} for {list(source)}")
    kept = [source[axis] if size == 0 else size for axis, size in enumerate(shape)]
    known = math.prod(size for size in kept if size != -1)
    wanted = [math.prod(source) // max(known, 1) if size == -1 else size for size in kept]
    if math.prod(wanted) != math.prod(source) or min(wanted, default=0) < 0:
        raise step.unable(f"a shape of {list(shape)} for {list(source)}")
    step.give(step.graph.reshaped(step.inputs[0], wanted))


def _flatten(step: Step) -> None:
    shape = step.graph.shape(step.inputs[0])
    axis = step.arguments.integer("axis", 1)
    if not 0 <= axis <= len(shape):
        raise step.arguments.wrong("axis", f"an axis of {len(shape)} dimensions")
    step.give(step.graph.reshaped(step.inputs[0], (math.prod(shape[:axis]), math.prod(shape[axis:]))))


def _flatten_to_vector(step: Step) -> None:
    step.give(step.graph.reshaped(step.inputs[0], (math.prod(step.graph.shape(step.inputs[0])),)))


def _transpose(step: Step) -> None:
    rank = step.rank()
    axes = step.arguments.integers("axes") or tuple(reversed(range(rank)))
    if sorted(axes) != list(range(rank)):
        raise step.arguments.wrong("axes", f"an order of {rank} axes")
    step.give(step.graph.transposed(step.inputs[0], axes))


def _to_channels_last(step: Step) -> None:
    step.give(step.inputs[0], channels_last=True)


def _to_channels_first(step: Step) -> None:
    step.give(step.channels_first(0, last=True))


def _squeeze(step: Step) -> None:
    shape, dims = step.graph.shape(step.inputs[0]), step.arguments.integers("dims")
    if any(not 0 <= axis < len(shape) or shape[axis] != 1 for axis in dims):
        raise step.arguments.wrong("dims", f"axes of length 1 of {list(shape)}")
    step.give(step.graph.reshaped(step.inputs[0], [size for axis, size in enumerate(shape) if axis not in dims]))


def _expand_dims(step: Step) -> None:
    shape = list(step.graph.shape(step.inputs[0]))
    for axis in sorted(step.arguments.integers("dims")):
        if not 0 <= axis <= len(shape):
            raise step.arguments.wrong("dims", "axes of what it makes")
        shape.insert(axis, 1)
    step.give(step.graph.reshaped(step.inputs[0], shape))


def _pad_image(step: Step) -> None:
    mode = step.arguments.text("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise step.arguments.wrong("mode", "constant, reflect or edge")
    last = step.arguments.channels_last()
    sides = [
        step.arguments.integer(side, step.arguments.integer("pad", 0)) for side in ("pad_t", "pad_l", "pad_b", "pad_r")
    ]
    if min(sides) < 0:
        raise step.unable("negative padding")
    top, left, bottom, right = sides
    pads = step.graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64), "pads")
    filling = step.graph.constant(np.array(step.arguments.number("value", 0.0), np.float32), "filling")
    made = step.graph.one("Pad", [step.channels_first(0, last), pads, filling], step.outputs[0], mode=mode)
    step.give(made, channels_last=last)


OPERATORS: dict[str, Handler] = {
    "Concat": _concat,
    "DepthConcat": _concat,
    "Split": _split,
    "Slice": _slice,
    "ChannelShuffle": _channel_shuffle,
    "Reshape": _reshape,
    "ResizeLike": lambda step: step.give(step.graph.reshaped(step.inputs[0], step.graph.shape(step.inputs[1]))),
    "Flatten": _flatten,
    "FlattenToVec": _flatten_to_vector,
    "Transpose": _transpose,
    "NCHW2NHWC": _to_channels_last,
    "NHWC2NCHW": _to_channels_first,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "PadImage": _pad_image,
}
