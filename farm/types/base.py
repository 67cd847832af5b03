"""Names, hashes and files: what every other type is made of."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator


def _inside(name: str) -> str:
    """Files are unpacked under their names: none may lead out of its folder."""
    if name in (".", ".."):
        raise ValueError(f"{name!r} is no file name")
    return name


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f]{1,200}$"), AfterValidator(_inside)]
DType = Literal["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]


class Frozen(BaseModel):
    # JSON has no NaN; a model may well answer with one, and then its parity holds it.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def digest_of(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``: the same content always has the same digest."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Blob(Frozen):
    """A content-addressed file in the artifact store."""

    name: FileName
    sha256: Sha256
    size_bytes: int = Field(ge=0)

    @property
    def store_path(self) -> str:
        """Where a content-addressed folder keeps it, relative to its root."""
        return f"{self.sha256[:2]}/{self.sha256}"


class TensorSpec(Frozen):
    """One input of a model. Values are within [``minimum``, ``maximum``] where these are given.

    ``fill``: what stands for a value that is missing (NaN, or masked): the mean of the tensor's other values, a line
    between its neighbours along the last axis, or this number, which also stands for an input that is missing as a
    whole. ``keep``: NaN is a value that the model knows. None: a missing value is an error.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    minimum: float | None = None
    maximum: float | None = None
    fill: Literal["mean", "interpolate", "keep"] | float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> TensorSpec:
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not low <= high:
            raise ValueError(f"minimum {low:g} is not below maximum {high:g}")
        if isinstance(self.fill, float) and not _within(self.fill, low, high):
            raise ValueError(f"fill {self.fill:g} is outside {_range(low, high)}")
        whole = self.dtype.startswith(("int", "uint", "bool"))
        if isinstance(self.fill, float) and whole and not self.fill.is_integer():
            raise ValueError(f"fill {self.fill:g} is no {self.dtype}")
        if self.dtype == "bool" and self.fill in ("mean", "interpolate"):
            raise ValueError(f"there is no {self.fill} of booleans")
        return self

    @property
    def range(self) -> str:
        """For people; empty where any value will do."""
        return _range(self.minimum, self.maximum)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f"[{'-inf' if low is None else f'{low:g}'}, {'inf' if high is None else f'{high:g}'}]"


class Estimate(Frozen):
    """A figure with its confidence interval [low, high]."""

    value: float
    low: float
    high: float

    @property
    def half_width_ratio(self) -> float:
        return (self.high - self.low) / 2 / self.value if self.value else float("inf")
