"""What a virtual fleet is made of: the YAML file of ``farm virtual fleet --profile``, checked.

Every field is explained in docs/virtual-fleet.md. ``lab.yaml`` beside this module is the profile where none is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import ConfigDict, Field, StringConstraints, ValidationError, model_validator

from farm.errors import ConfigError
from farm.types import Frozen, RecoveryStep

BUILT_IN = Path(__file__).with_name("lab.yaml")

Key = tuple[str | int, ...]
Ratio = Annotated[float, Field(ge=0, le=1)]


class _Section(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class Latency(_Section):
    """How long inferences take. Spreads and noise are standard deviations of the logarithm."""

    median_seconds: float = Field(ge=1e-4, le=3600)  # of a middling artifact with one thread on a device of speed 1
    artifact_spread: float = Field(default=0.5, ge=0, le=3)  # between artifacts, the same on all devices
    pairing_spread: float = Field(default=0.1, ge=0, le=3)  # what one artifact is to one device beyond both
    noise: float = Field(default=0.02, ge=0, le=3)  # within an attempt
    correlation: float = Field(default=0.3, ge=0, lt=1)  # of an inference with the next
    drift_per_minute: float = Field(default=0.0, ge=-0.5, le=10)  # relative change during an attempt
    parallel_ratio: Ratio = 0.8  # of the work that more threads share (Amdahl)
    first_factor: float = Field(default=3.0, ge=1, le=1000)  # the first inference over the next ones
    import_seconds: float = Field(default=0.2, ge=0, le=600)
    load_seconds: float = Field(default=0.1, ge=0, le=600)


class Thermal(_Section):
    """One heat capacity and one resistance: busy, the device nears ambient + rise; idle, it nears ambient."""

    ambient_celsius: float = Field(default=25.0, ge=-40, le=80)
    rise_celsius: float = Field(ge=0, le=150)
    time_constant_seconds: float = Field(gt=0, le=86400)
    throttle_celsius: float = Field(le=200)  # up to here the full clock,
    limit_celsius: float = Field(le=200)  # from here on the lowest, in between linear
    min_clock_ratio: float = Field(default=0.5, gt=0, le=1)
    start_below_celsius: float | None = None  # hotter, the device starts nothing; default: it always does

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.limit_celsius <= self.throttle_celsius:
            raise ValueError("limit_celsius must be above throttle_celsius")
        if self.start_below_celsius is not None and self.start_below_celsius <= self.ambient_celsius:
            raise ValueError("start_below_celsius must be above ambient_celsius, or the device never starts")
        return self


class Failures(_Section):
    """Shares of attempts."""

    crash_ratio: Ratio = 0.0
    timeout_ratio: Ratio = 0.0
    offline_ratio: Ratio = 0.0  # the device goes away in the middle of it,
    offline_seconds: float = Field(default=30.0, gt=0)  # for so long on average (exponential)
    nan_ratio: Ratio = 0.0  # of what is measured: the outputs hold a NaN
    break_ratio: Ratio = 0.0  # the device is broken afterwards,
    mended_by: dict[RecoveryStep, Ratio] = Field(default_factory=dict)  # until such a step (shares), or for good

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.crash_ratio + self.timeout_ratio + self.offline_ratio > 1:
            raise ValueError("crash_ratio, timeout_ratio and offline_ratio add up to more than 1")
        if sum(self.mended_by.values()) > 1 + 1e-9:
            raise ValueError("the shares of mended_by add up to more than 1")
        return self


class Battery(_Section):
    """Drains while the device measures, charges while it does not. Below ``min_ratio`` it is offline until it holds
    ``resume_ratio`` again."""

    hours_full_to_empty: float = Field(gt=0)
    hours_empty_to_full: float = Field(gt=0)
    min_ratio: Ratio = 0.15
    resume_ratio: Ratio = 0.3

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.resume_ratio <= self.min_ratio:
            raise ValueError("resume_ratio must be above min_ratio")
        return self


class Kind(_Section):
    """One model of device. ``share`` of the fleet: of two kinds with shares 3 and 1 there are three to one."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}$")]
    share: int = Field(default=1, ge=1, le=1000)
    platform: Literal["android", "linux"]
    soc: str
    abi: str
    os_version: str
    memory_gib: float = Field(gt=0, le=4096)
    cpu_count: int = Field(ge=1, le=1024)
    clock_ghz: float = Field(gt=0, le=20)
    speed: float = Field(default=1.0, gt=0, le=1000)
    speed_spread: float = Field(default=0.03, ge=0, le=1)  # between devices of this kind
    labels: dict[str, str] = Field(default_factory=dict)
    latency: Latency
    thermal: Thermal
    failures: Failures = Failures()
    battery: Battery | None = None


class Profile(_Section):
    """``time_scale``: seconds that pass for one simulated second; 0.01 makes a job of a second one of 10 ms."""

    seed: int = 0
    time_scale: float = Field(default=1.0, gt=0, le=1000)
    kinds: tuple[Kind, ...] = Field(min_length=1, max_length=1000)

    def kind_of(self, number: int) -> Kind:
        """Of the device with this number, counted from 0: the same however many there are."""
        place = number % sum(kind.share for kind in self.kinds)
        for kind in self.kinds:
            if place < kind.share:
                return kind
            place -= kind.share
        raise AssertionError("shares are counted above")


def load_profile(path: Path | None = None) -> Profile:
    """Raises ConfigError that names file, line and key."""
    path = path or BUILT_IN
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The profile {path} cannot be read: {error}.", remedy="Name a YAML file.") from error
    return parse_profile(text, str(path))


def parse_profile(text: str, name: str) -> Profile:
    """``name`` is what errors call the text. Raises ConfigError."""
    lines: dict[Key, int] = {}
    try:
        content = yaml.safe_load(text)
        if isinstance(content, dict):
            lines = dict(_lines(yaml.compose(text, yaml.SafeLoader), (), set()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise _unusable(where, f"no valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise _unusable(name, f"no valid YAML: {error}") from error
    except (RecursionError, ValueError) as error:
        raise _unusable(name, str(error)) from error
    if not isinstance(content, dict):
        raise _unusable(name, "it must be a mapping with the key 'kinds'")
    try:
        return Profile.model_validate(content)
    except ValidationError as error:
        # A mistyped key is both unknown and missing: say the former.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = tuple(first["loc"])
        known = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in lines), ())
        what = "unknown key" if first["type"] == "extra_forbidden" else _worded(first["msg"])
        raise _unusable(f"{name}:{lines.get(known, 1)}", f"{_dotted(key)}: {what}") from error


def _lines(node: yaml.Node, key: Key, seen: set[int]) -> Iterator[tuple[Key, int]]:
    """The line of every key, counted from 1. Raises ValueError for a key that is there twice or no word."""
    yield key, node.start_mark.line + 1
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        names: set[str] = set()
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise ValueError(f"line {name.start_mark.line + 1}: a key must be a word")
            if name.value in names:
                raise ValueError(f"line {name.start_mark.line + 1}: the key {name.value!r} is there twice")
            names.add(name.value)
            for found, line in _lines(value, (*key, name.value), seen):
                yield found, name.start_mark.line + 1 if found == (*key, name.value) else line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*key, index), seen)


def _worded(message: str) -> str:
    return message.removeprefix("Value error, ").replace("a valid tuple", "a list").replace("Tuple", "The list")


def _dotted(key: Key) -> str:
    """``kinds[0].latency.noise``"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".") or "the profile"


def _unusable(where: str, what: str) -> ConfigError:
    return ConfigError(f"{where}: {what}.", remedy="Correct the profile; docs/virtual-fleet.md explains every key.")
