"""What is declared to be done before and after an inference (``farm.types.steps``), in numpy.

A step is a plain dictionary with its ``kind``, so that it travels in the job. The same code runs on the device, where
it is timed, where a model is uploaded from, and where outputs on a labelled set are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agents.harness.failure import Failure
from agents.harness.tensors import Array, describe

Step = Mapping[str, Any]
_AXES = {"chw": (-2, -1), "hwc": (-3, -2)}  # of height and width


def run(steps: Sequence[Step], tensors: Sequence[Array]) -> list[Array]:
    """The tensors after all steps, each C-contiguous. Raises Failure ``wrong-step`` naming the step and what it got."""
    current = list(tensors)
    for number, step in enumerate(steps):
        try:
            current = _TENSORS[step["kind"]](step, current) if step["kind"] in _TENSORS else _one(step, current)
        except (ValueError, IndexError, TypeError) as error:
            got = ", ".join(map(describe, current))
            raise Failure(
                "wrong-step",
                f"Step {number} ({step['kind']}) cannot be taken with ({got}): {error}.",
                remedy="Correct the steps of the model, or their order.",
                fault="user",
            ) from error
    return [np.ascontiguousarray(tensor) if tensor.ndim else tensor for tensor in current]


def _one(step: Step, tensors: list[Array]) -> list[Array]:
    at = step["input"]
    changed = _ARRAYS[step["kind"]](step, tensors[at])
    return [*tensors[:at], changed, *tensors[at + 1 :]]


def _resize(step: Step, image: Array) -> Array:
    for axis, size in zip(_image_axes(step, image), (step["height"], step["width"]), strict=True):
        image = _resized(image, axis, size, step["method"])
    return image


def _resized(image: Array, axis: int, size: int, method: str) -> Array:
    """Along one axis: bilinear interpolation is that of both axes after each other."""
    old = image.shape[axis]
    if method == "nearest":
        nearest = np.minimum((np.arange(size) * (old / size)).astype(np.intp), old - 1)
        return np.asarray(np.take(image, nearest, axis=axis))
    places = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
    before = np.floor(places).astype(np.intp)
    after = np.minimum(before + 1, old - 1)
    exact = image if np.issubdtype(image.dtype, np.floating) else image.astype(np.float32)
    share = (
        (places - before).astype(exact.dtype).reshape([-1 if n == axis % image.ndim else 1 for n in range(image.ndim)])
    )
    mixed = np.take(exact, before, axis=axis) * (1 - share) + np.take(exact, after, axis=axis) * share
    return np.asarray(mixed if exact is image else np.rint(mixed).astype(image.dtype))


def _crop(step: Step, image: Array) -> Array:
    for axis, size in zip(_image_axes(step, image), (step["height"], step["width"]), strict=True):
        spare = image.shape[axis] - size
        if spare < 0:
            raise ValueError(f"the image is {image.shape[axis]} high or wide, less than {size}")
        image = np.take(image, range(spare // 2, spare // 2 + size), axis=axis)
    return image


def _image_axes(step: Step, image: Array) -> tuple[int, int]:
    if image.ndim < 3:
        raise ValueError(f"an image has three axes ({step['layout']})")
    return _AXES[step["layout"]]


def _pad(step: Step, array: Array) -> Array:
    widths = [tuple(pair) for pair in step["widths"]]
    if len(widths) > array.ndim:
        raise ValueError(f"widths for {len(widths)} axes")
    return np.pad(array, [(0, 0)] * (array.ndim - len(widths)) + widths, constant_values=step["value"])


def _floating(array: Array) -> Array:
    return array if np.issubdtype(array.dtype, np.floating) else array.astype(np.float32)


def _scale(step: Step, array: Array) -> Array:
    exact = _floating(array)
    return np.asarray(exact * exact.dtype.type(step["factor"]) + exact.dtype.type(step["offset"]))


def _normalize(step: Step, array: Array) -> Array:
    exact = _floating(array)
    if exact.shape[step["axis"]] != len(step["mean"]):
        raise ValueError(
            f"axis {step['axis']} has {exact.shape[step['axis']]} places, there are {len(step['mean'])} means"
        )
    shape = [1] * exact.ndim
    shape[step["axis"]] = -1
    mean, std = (np.asarray(step[name], dtype=exact.dtype).reshape(shape) for name in ("mean", "std"))
    return np.asarray((exact - mean) / std)


def _softmax(step: Step, array: Array) -> Array:
    powers = np.exp(_floating(array) - array.max(axis=step["axis"], keepdims=True))
    return np.asarray(powers / powers.sum(axis=step["axis"], keepdims=True))


def _sigmoid(step: Step, array: Array) -> Array:
    """Without overflow on either side."""
    exact = _floating(array)
    small = np.exp(-np.abs(exact))
    return np.asarray(np.where(exact >= 0, 1 / (1 + small), small / (1 + small)))


def _top_k(step: Step, tensors: list[Array]) -> list[Array]:
    at, k = step["input"], step["k"]
    array = tensors[at]
    if k > array.shape[-1]:
        raise ValueError(f"there are {array.shape[-1]} values, not {k}")
    places = np.argsort(-_floating(array), axis=-1, kind="stable")[..., :k]
    return [*tensors[:at], np.take_along_axis(array, places, axis=-1), places.astype(np.int64), *tensors[at + 1 :]]


def _nms(step: Step, tensors: list[Array]) -> list[Array]:
    boxes, scores = tensors[step["input"]], tensors[step["scores"]]
    boxes = boxes[0] if boxes.ndim == 3 and len(boxes) == 1 else boxes
    scores = scores[0] if scores.ndim == 3 or scores.shape == (1, len(boxes)) else scores
    scores = scores[:, None] if scores.ndim == 1 else scores
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim != 2 or len(scores) != len(boxes):
        raise ValueError("boxes are [n, 4] and scores [n] or [n, classes]")
    candidates, classes = np.nonzero(scores >= step["least_score"])
    order = np.argsort(-scores[candidates, classes], kind="stable")
    kept: list[int] = []
    while len(order) and len(kept) < step["most"]:
        best, order = order[0], order[1:]
        kept.append(int(best))
        rivals = classes[order] == classes[best]
        near = _overlap(boxes[candidates[best]], boxes[candidates[order]]) > step["iou"]
        order = order[~(rivals & near)]
    of, kind = candidates[kept], classes[kept]
    others = [each for at, each in enumerate(tensors) if at not in (step["input"], step["scores"])]
    return [boxes[of], scores[of, kind], kind.astype(np.int64), *others]


def _overlap(box: Array, others: Array) -> Array:
    """Intersection over union."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(np.maximum(others[:, 2:] - others[:, :2], 0), axis=1)
    union = float(np.prod(np.maximum(box[2:] - box[:2], 0))) + areas - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


_ARRAYS: dict[str, Callable[[Step, Array], Array]] = {
    "resize": _resize,
    "crop": _crop,
    "pad": _pad,
    "scale": _scale,
    "normalize": _normalize,
    "cast": lambda step, array: array.astype(step["dtype"]),
    "transpose": lambda step, array: np.transpose(array, step["axes"]),
    "expand": lambda step, array: np.expand_dims(array, step["axis"]),
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "threshold": lambda step, array: (array > step["value"]).astype(np.uint8),
    "argmax": lambda step, array: np.asarray(np.argmax(array, axis=step["axis"])),
}
_TENSORS: dict[str, Callable[[Step, list[Array]], list[Array]]] = {"top-k": _top_k, "nms": _nms}
