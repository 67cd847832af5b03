"""Recipes say how to make a variant; artifacts are what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from farm.errors import InternalError
from farm.types.base import Blob, Frozen, Name, Sha256, digest_of
from farm.types.failure import Failure
from farm.types.models import ModelFormat, ModelSpec
from farm.types.transforms import Batch, DynamicBatch, Transform


class ParityLimits(Frozen):
    """How far a variant may be from PyTorch. ``max_abs_error_ratio`` is relative to the largest |reference|.

    What is None is not asked for. An agreement that is asked for and cannot be told, because the outputs are no class
    scores, fails.
    """

    min_cosine: float = Field(ge=-1, le=1)
    max_abs_error_ratio: float | None = Field(default=None, gt=0)
    max_rel_error: float | None = Field(default=None, gt=0)
    min_snr_db: float | None = Field(default=None, ge=-313, le=313)
    min_top1_agreement: float | None = Field(default=None, gt=0, le=1)
    min_top5_agreement: float | None = Field(default=None, gt=0, le=1)


FP32 = ParityLimits(min_cosine=0.9999, max_abs_error_ratio=0.001)
# What each family of transforms may cost. The largest allowance of a recipe's transforms counts; who needs other limits
# writes them into the recipe.
FAMILIES = {
    "fp16": ParityLimits(min_cosine=0.999),
    "bf16": ParityLimits(min_cosine=0.99),
    "int8": ParityLimits(min_cosine=0.99),
    "int4": ParityLimits(min_cosine=0.95),
    "prune": ParityLimits(min_cosine=0.9),
    "palettize": ParityLimits(min_cosine=0.9),
    "distill": ParityLimits(min_cosine=0.9),
    "plugin": ParityLimits(min_cosine=0.9),
}


def default_parity(transforms: Iterable[Transform]) -> ParityLimits:
    """The limits of the family that a recipe with these transforms belongs to."""
    families = {family for transform in transforms for family in (transform.kind, transform.label.split("-")[0])}
    return min(
        (FAMILIES[family] for family in families & FAMILIES.keys()), key=lambda limits: limits.min_cosine, default=FP32
    )


_TRANSFORMS: TypeAdapter[tuple[Transform, ...]] = TypeAdapter(tuple[Transform, ...])


class Recipe(Frozen):
    """How to make a variant: ordered transforms, a runtime, and its options.

    May be written ``Recipe("onnxruntime", transforms=[prune(0.5, structured=True), quantize("int8", static=True)])``:
    the name is then made of its parts, the parity limits are those of its family.
    """

    name: Name
    runtime: Name
    transforms: tuple[Transform, ...] = ()
    options: dict[str, str | int | float | bool] = {}
    parity: ParityLimits

    def __init__(self, runtime: str | None = None, **fields: Any) -> None:
        super().__init__(**({} if runtime is None else {"runtime": runtime}), **fields)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """Fills in the name and the limits."""
        if not isinstance(value, dict) or ("name" in value and "parity" in value):
            return value
        try:
            transforms = _TRANSFORMS.validate_python(value.get("transforms", ()))
        except ValidationError:
            return {"name": "unnamed", "parity": FP32, **value}  # the field's own validation says what is wrong
        options = value.get("options", {})
        parts = [value.get("runtime", ""), *(str(options[key]) for key in sorted(options))]
        name = "-".join([*parts, *(transform.label for transform in transforms)])
        made = {"name": re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100], "parity": default_parity(transforms)}
        return {**made, **value}

    @property
    def digest(self) -> str:
        """Of what determines the artifact; the name and the limits do not."""
        return digest_of(self.model_dump(mode="json", exclude={"name", "parity"}))

    @property
    def batch(self) -> int:
        """How many samples one inference of the artifact takes; where it takes any number, the least."""
        return next((step.size for step in self.transforms if isinstance(step, Batch)), 1)

    @property
    def largest_batch(self) -> int:
        """The most samples that one inference takes."""
        return next((step.max_size for step in self.transforms if isinstance(step, DynamicBatch)), self.batch)


class RecipeInfo(Frozen):
    """A preset, and whether it can be built and run here."""

    recipe: Recipe
    summary: str
    usable: bool
    missing: tuple[str, ...] = ()
    accepts: tuple[ModelFormat, ...]
    tool_versions: dict[str, str] = {}


class BuildState(StrEnum):
    PENDING = "pending"
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"


class LineageStep(Frozen):
    """One transform as it was carried out: where an artifact comes from, step by step."""

    label: str
    seconds: float
    notes: tuple[str, ...] = ()
    parameters: int | None = None  # of the program afterwards


class Delegation(Frozen):
    """How many operators of the artifact run where: by the name of the delegate or execution provider."""

    operators: dict[str, int]
    left_over: dict[str, int] = {}  # operator types that no delegate took, with their counts


class BuildReport(Frozen):
    """``parameters`` and ``flops`` (per inference) are those of the program that was handed to the runtime."""

    seconds: float
    peak_rss_bytes: int | None
    tool_versions: dict[str, str]
    notes: tuple[str, ...] = ()
    network_isolated: bool
    lineage: tuple[LineageStep, ...] = ()
    parameters: int | None = None
    flops: int | None = None
    delegation: Delegation | None = None
    log: Blob | None = None


class Artifact(Frozen):
    """What a recipe built from a model. ``key`` is the hash of (model, recipe, tool versions)."""

    key: Sha256
    files: tuple[Blob, ...]
    report: BuildReport

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class Build(Frozen):
    key: Sha256
    model_id: Sha256
    recipe: Recipe
    state: BuildState
    artifact: Artifact | None = None
    failure: Failure | None = None
    attempts: int = 0

    @property
    def built(self) -> Artifact:
        """The artifact of a build that is known to be built. Raises InternalError."""
        if self.artifact is None:
            raise InternalError(f"Build {self.key[:12]} is used before it is built.", remedy="Report this bug.")
        return self.artifact


class BuildLogPart(Frozen):
    """Some of a build's log. ``complete``: the build has ended and nothing comes after this; else ask again from
    ``next_offset`` (bytes) on. Of a long log the middle is left out, which it says itself."""

    text: str
    next_offset: int
    complete: bool


class BuildRequest(Frozen):
    """What a build task gets: everything by content hash, nothing from the submitter's machine."""

    key: Sha256
    model: ModelSpec
    recipe: Recipe
    tool_versions: dict[str, str]
    store_url: str
    timeout_seconds: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)
