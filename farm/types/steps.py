"""Steps before and after a model, as data: what a device runs in numpy around an inference, timed apart from it.

``where``: ``device`` is run and timed on the device with every measurement; ``host`` is applied once where the model is
uploaded from (before it), or by the farm's head to outputs on a labelled set (after it). Images are ``chw`` or ``hwc``
in their last three axes; axes before these are kept. ``input`` is the position of the tensor that a step changes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from farm.types.base import DType, Frozen

Layout = Literal["chw", "hwc"]
Where = Literal["host", "device"]


class _Step(Frozen):
    where: Where = "device"
    input: int = Field(default=0, ge=0)


class Resize(_Step):
    """To ``height`` x ``width``, sampled at pixel centres, as ``torch.nn.functional.interpolate`` does."""

    kind: Literal["resize"] = "resize"
    height: int = Field(ge=1, le=16384)
    width: int = Field(ge=1, le=16384)
    method: Literal["bilinear", "nearest"] = "bilinear"
    layout: Layout = "hwc"


class Crop(_Step):
    """The middle ``height`` x ``width``."""

    kind: Literal["crop"] = "crop"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    layout: Layout = "hwc"


class Pad(_Step):
    """``widths``: how many to put before and after, for each of the last axes."""

    kind: Literal["pad"] = "pad"
    widths: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], ...] = Field(min_length=1)
    value: float = 0.0


class Scale(_Step):
    """``x * factor + offset``; integers become float32."""

    kind: Literal["scale"] = "scale"
    factor: float
    offset: float = 0.0


class Normalize(_Step):
    """``(x - mean) / std`` with a value for each place along ``axis``; integers become float32."""

    kind: Literal["normalize"] = "normalize"
    mean: tuple[float, ...] = Field(min_length=1)
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    axis: int = -1

    @model_validator(mode="after")
    def _paired(self) -> Normalize:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means and {len(self.std)} standard deviations")
        return self


class CastTo(_Step):
    kind: Literal["cast"] = "cast"
    dtype: DType


class Transpose(_Step):
    """``axes``: the old place of each new axis, e.g. ``(2, 0, 1)`` from hwc to chw."""

    kind: Literal["transpose"] = "transpose"
    axes: tuple[int, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _permutation(self) -> Transpose:
        if sorted(self.axes) != list(range(len(self.axes))):
            raise ValueError(f"axes {self.axes} are no permutation")
        return self


class Expand(_Step):
    """A new axis of size 1, e.g. the batch."""

    kind: Literal["expand"] = "expand"
    axis: int = 0


class Softmax(_Step):
    kind: Literal["softmax"] = "softmax"
    axis: int = -1


class Sigmoid(_Step):
    kind: Literal["sigmoid"] = "sigmoid"


class Threshold(_Step):
    """1 above ``value``, else 0 (uint8)."""

    kind: Literal["threshold"] = "threshold"
    value: float


class ArgMax(_Step):
    kind: Literal["argmax"] = "argmax"
    axis: int = -1


class TopK(_Step):
    """The ``k`` largest values along the last axis in falling order, and as the next tensor their places."""

    kind: Literal["top-k"] = "top-k"
    k: int = Field(ge=1)


class NonMaximumSuppression(_Step):
    """Of boxes ``[n, 4]`` (left, top, right, bottom; the tensor at ``input``) and their scores ``[n]`` or
    ``[n, classes]`` (at ``scores``), those that no better one of their class overlaps by more than ``iou``.

    In place of the two come boxes, scores and classes, the best first, at most ``most``. A leading axis of 1 is left
    out.
    """

    kind: Literal["nms"] = "nms"
    scores: int = Field(default=1, ge=0)
    iou: float = Field(default=0.5, gt=0, le=1)
    least_score: float = 0.05
    most: int = Field(default=100, ge=1)


Step = Annotated[
    Resize
    | Crop
    | Pad
    | Scale
    | Normalize
    | CastTo
    | Transpose
    | Expand
    | Softmax
    | Sigmoid
    | Threshold
    | ArgMax
    | TopK
    | NonMaximumSuppression,
    Field(discriminator="kind"),
]


def on_device(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(step for step in steps if step.where == "device")
