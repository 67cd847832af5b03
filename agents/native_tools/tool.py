"""What a native tool is to the farm: a command line to build and an output to read strictly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface

from farm.types import Accelerator, Protocol, ToolDelegation


class NotUnderstood(ValueError):
    """The output is not what the tool prints: cut, of another version, in other units. The text says what is wrong."""


@dataclass(frozen=True)
class Tensor:
    """An input as a file of the phone: its plain bytes in C order."""

    path: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """``model``: the artifact's file on the phone, ``folder`` where the tool may write. ``delegate``: arguments that
    choose the accelerator. ``batch``: samples per inference that the scenario asks for, of an artifact that takes any
    number."""

    model: str
    folder: str
    threads: int
    accelerator: Accelerator
    delegate: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    protocol: Protocol
    batch: int = 1

    @property
    def warmup_runs(self) -> int:
        return self.protocol.min_warmup_runs

    @property
    def runs(self) -> int:
        """Measured ones. The stop rule is the harness's; a tool is told a number beforehand."""
        return self.protocol.min_samples


@dataclass(frozen=True)
class Printed:
    """What a tool printed of its measured runs, in seconds and bytes. What it did not is None or empty.

    ``warmup_included``: its only figure also holds the first inference and the warm-up.
    """

    count: int
    mean_seconds: float
    min_seconds: float | None = None
    max_seconds: float | None = None
    std_seconds: float | None = None
    quantiles_seconds: tuple[tuple[str, float], ...] = ()
    samples_seconds: tuple[float, ...] = ()
    warmup_samples_seconds: tuple[float, ...] = ()
    load_seconds: float | None = None
    first_inference_seconds: float | None = None
    memory_peak_bytes: int | None = None
    delegation: ToolDelegation | None = None
    warmup_included: bool = False


class Tool(Interface):
    """``runtime``: whose artifacts it runs, from a file that ends on one of ``suffixes``. ``sets_threads``: the number
    of threads can be told it. ``results``: a file in the work's folder that it writes beside what it prints, or empty.
    ``outputs``: it writes its outputs, so parity can be told."""

    @property
    def name(self) -> str: ...

    @property
    def runtime(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def sets_threads(self) -> bool: ...

    @property
    def results(self) -> str: ...

    @property
    def outputs(self) -> bool: ...

    def delegate(self, accelerator: Accelerator) -> tuple[str, ...] | None:
        """Its usual arguments for an accelerator; None where the user must give them at registration."""
        ...

    def refuses(self, work: Work) -> str:
        """Why it cannot do this work; empty where it can."""
        ...

    def probe(self, binary: str, work: Work) -> list[str]:
        """A command to run before, whose output tells what took the graph; empty where the measured one does."""
        ...

    def command(self, binary: str, work: Work) -> list[str]: ...

    def read(self, output: str, results: str, probed: str, work: Work) -> Printed:
        """Raises NotUnderstood."""
        ...


def seconds(text: str, unit_seconds: float, what: str) -> float:
    """A duration that was printed as a plain number. Raises NotUnderstood unless it is one and positive."""
    try:
        value = float(text) * unit_seconds
    except ValueError:
        raise NotUnderstood(f"{what} is {text!r}, no number") from None
    if not (math.isfinite(value) and value > 0):
        raise NotUnderstood(f"{what} is {text}, no duration")
    return value


def lines(output: str) -> list[str]:
    """Raises NotUnderstood where the last line was cut."""
    if not output.endswith("\n"):
        raise NotUnderstood(f"it ends in the middle of a line: {output[-80:]!r}")
    return output.splitlines()


def agree(a: float, b: float, what: str, tolerance_ratio: float = 1e-3) -> None:
    """Two figures of one thing: a digit that was lost, or another unit, shows here. Raises NotUnderstood."""
    if abs(a - b) > tolerance_ratio * max(abs(a), abs(b)):
        raise NotUnderstood(f"{what} is given as {a:g} s and as {b:g} s")


def of_samples(samples: Sequence[float], warmup_runs: int, **fields: object) -> Printed:
    """Where the tool gives every run: the first ones are warm-up. Raises NotUnderstood where none is left."""
    measured = tuple(samples[warmup_runs:])
    if not measured:
        raise NotUnderstood(f"{len(samples)} runs, of which {warmup_runs} are warm-up")
    return Printed(
        count=len(measured),
        mean_seconds=math.fsum(measured) / len(measured),
        min_seconds=min(measured),
        max_seconds=max(measured),
        samples_seconds=measured,
        warmup_samples_seconds=tuple(samples[:warmup_runs]),
        **fields,  # type: ignore[arg-type]
    )
