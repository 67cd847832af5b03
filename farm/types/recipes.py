"""Recipes say how to make a variant; artifacts are what came of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from farm.errors import InternalError
from farm.types.base import Blob, Frozen, Name, Sha256, digest_of
from farm.types.failure import Failure
from farm.types.models import ModelFormat, ModelSpec


class Quantize(Frozen):
    kind: Literal["quantize"] = "quantize"
    dtype: Literal["int8"] = "int8"
    static: bool = True


Transform = Quantize  # the union of transform kinds, discriminated by ``kind``


class ParityLimits(Frozen):
    """How far a variant may be from PyTorch. ``max_abs_error_ratio`` is relative to the largest |reference|."""

    min_cosine: float = Field(ge=-1, le=1)
    max_abs_error_ratio: float | None = Field(default=None, gt=0)


class Recipe(Frozen):
    """How to make a variant: ordered transforms, a runtime, and its options."""

    name: Name
    runtime: Name
    transforms: tuple[Transform, ...] = ()
    options: dict[str, str | int | float | bool] = {}
    parity: ParityLimits

    @property
    def digest(self) -> str:
        """Of what determines the artifact; the name and the limits do not."""
        return digest_of(self.model_dump(mode="json", exclude={"name", "parity"}))


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


class BuildReport(Frozen):
    seconds: float
    peak_rss_bytes: int | None
    tool_versions: dict[str, str]
    notes: tuple[str, ...] = ()
    network_isolated: bool


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


class BuildRequest(Frozen):
    """What a build task gets: everything by content hash, nothing from the submitter's machine."""

    key: Sha256
    model: ModelSpec
    recipe: Recipe
    tool_versions: dict[str, str]
    store_url: str
    timeout_seconds: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)
