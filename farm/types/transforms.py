"""What a recipe does to a model before its runtime takes it, and how people write that down.

Transforms are ordered. Those on the program itself (prune, palettize, distill, ...) come first; those that a runtime's
own tools make (mostly quantization) come last, since what leaves those tools is no PyTorch program any more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from farm.types.base import Frozen, Name

SOURCE_CHARACTERS = 200_000  # of a Python file that comes with a recipe


class Cast(Frozen):
    """Weights and arithmetic in half precision; inputs and outputs keep their types."""

    kind: Literal["cast"] = "cast"
    dtype: Literal["float16", "bfloat16"] = "float16"

    @property
    def label(self) -> str:
        return {"float16": "fp16", "bfloat16": "bf16"}[self.dtype]


class Quantize(Frozen):
    """``static``: weights and activations, ranges from calibration inputs; ``dynamic``: activations are quantized when
    they are computed; ``weight-only``: weights are stored small and computed with in floating point."""

    kind: Literal["quantize"] = "quantize"
    dtype: Literal["int8", "int4"] = "int8"
    mode: Literal["static", "dynamic", "weight-only"] = "static"

    @property
    def label(self) -> str:
        return f"{self.dtype}-{self.mode}"


class Prune(Frozen):
    """``amount`` of the weights go to zero (by global magnitude), or with ``structured`` whole channels go, so that
    tensors are really smaller."""

    kind: Literal["prune"] = "prune"
    amount: float = Field(gt=0, lt=1)
    structured: bool = False

    @property
    def label(self) -> str:
        return f"prune{self.amount * 100:g}{'-structured' if self.structured else ''}"


class Palettize(Frozen):
    """Weights share 2**bits values per tensor, found by k-means."""

    kind: Literal["palettize"] = "palettize"
    bits: Literal[1, 2, 3, 4, 6, 8] = 4

    @property
    def label(self) -> str:
        return f"palettized{self.bits}"


class Fuse(Frozen):
    """Batch norms are folded into the convolution or linear layer before them."""

    kind: Literal["fuse"] = "fuse"

    @property
    def label(self) -> str:
        return "fused"


class ChannelsLast(Frozen):
    """Images and their weights lie in memory channel by channel of a pixel (NHWC)."""

    kind: Literal["channels-last"] = "channels-last"

    @property
    def label(self) -> str:
        return "channels-last"


class Batch(Frozen):
    """One inference takes ``size`` samples. The program must have been exported with a batch of any size."""

    kind: Literal["batch"] = "batch"
    size: int = Field(ge=2, le=1024)

    @property
    def label(self) -> str:
        return f"batch{self.size}"


class DynamicBatch(Frozen):
    """The artifact takes batches of 1 to ``max_size`` samples, where the runtime has such shapes."""

    kind: Literal["dynamic-batch"] = "dynamic-batch"
    max_size: int = Field(default=8, ge=2, le=1024)

    @property
    def label(self) -> str:
        return "dynamic-batch"


class Distill(Frozen):
    """The program as transformed so far (the student) learns to answer like the original (the teacher).

    Without ``source`` the farm's own short training (``steps``, ``batch_size``, ``learning_rate``; the loss is
    ``(1 - feature_weight) * logits + feature_weight * features``, logits softened by ``temperature``). ``source`` is
    Python that defines ``loss(student_outputs, teacher_outputs)``, or ``train(student, teacher, data, session)``.
    """

    kind: Literal["distill"] = "distill"
    steps: int = Field(default=200, ge=1, le=1_000_000)
    batch_size: int = Field(default=16, ge=1, le=4096)
    learning_rate: float = Field(default=1e-3, gt=0)
    temperature: float = Field(default=2.0, gt=0)
    feature_weight: float = Field(default=0.5, ge=0, le=1)
    seed: int = 0
    source: str = Field(default="", max_length=SOURCE_CHARACTERS)

    @property
    def label(self) -> str:
        return "distilled"


class Plugin(Frozen):
    """A transform of another package, by the name of its entry point (group ``torchfarm.transforms``)."""

    kind: Literal["plugin"] = "plugin"
    name: Name
    options: dict[str, str | int | float | bool] = {}

    @property
    def label(self) -> str:
        return self.name


Transform = Annotated[
    Cast | Quantize | Prune | Palettize | Fuse | ChannelsLast | Batch | DynamicBatch | Distill | Plugin,
    Field(discriminator="kind"),
]


# --- as people write them: farm.prune(0.5, structured=True) ------------------------------------------------


def cast(dtype: Literal["float16", "bfloat16"] = "float16") -> Cast:
    return Cast(dtype=dtype)


def quantize(dtype: Literal["int8", "int4"] = "int8", *, static: bool = False, weight_only: bool = False) -> Quantize:
    """Dynamic unless ``static`` (with calibration inputs) or ``weight_only``."""
    if static and weight_only:
        raise ValueError("quantize is either static or weight_only")
    return Quantize(dtype=dtype, mode="static" if static else "weight-only" if weight_only else "dynamic")


def prune(amount: float, *, structured: bool = False) -> Prune:
    return Prune(amount=amount, structured=structured)


def palettize(bits: Literal[1, 2, 3, 4, 6, 8] = 4) -> Palettize:
    return Palettize(bits=bits)


def fuse() -> Fuse:
    return Fuse()


def channels_last() -> ChannelsLast:
    return ChannelsLast()


def batch(size: int) -> Batch:
    return Batch(size=size)


def dynamic_batch(max_size: int = 8) -> DynamicBatch:
    return DynamicBatch(max_size=max_size)


def plugin(name: str, **options: str | int | float | bool) -> Plugin:
    return Plugin(name=name, options=options)


def distill(**settings: Any) -> Distill:
    """See ``Distill``; ``source`` may also be the path of a Python file."""
    from pathlib import Path

    source = settings.get("source", "")
    if isinstance(source, Path) or (source and "\n" not in source):
        settings["source"] = Path(source).read_text()
    return Distill(**settings)
