"""Native tools: benchmark programs of other people's, what a device offers of them and what one of them said."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from farm.types.base import Frozen, Name, Sha256
from farm.types.runs import Accelerator


class ToolOffer(Frozen):
    """A native tool that is registered for a device's ABI: programs of ``runtime``, on ``accelerators``."""

    name: Name
    runtime: Name
    accelerators: tuple[Accelerator, ...] = ("cpu",)


class ToolDelegation(Frozen):
    """Whether the accelerator's delegate took the graph, in the tool's own words (``said``).

    ``unproven``: the tool printed nothing that tells. Counts are absent where it did not print them.
    """

    taken: Literal["whole", "partly", "refused", "unproven"]
    said: str
    nodes: int | None = None
    delegated_nodes: int | None = None
    partitions: int | None = None


class ToolReport(Frozen):
    """What a native tool printed of its measured runs. What it did not print is absent, and never worked out from the
    rest; ``quantiles_seconds`` is keyed "p5", "p50", "p95" and so on.

    ``sha256``: of the tool's binary. ``delegation``: absent on the CPU. ``samples``: whether it gave every run's time.
    ``warmup_included``: its one figure also holds the first inference and the warm-up.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    tool: Name
    sha256: Sha256
    accelerator: Accelerator
    command: tuple[str, ...]
    count: int = Field(ge=1)
    mean_seconds: float = Field(gt=0)
    min_seconds: float | None = None
    max_seconds: float | None = None
    std_seconds: float | None = None
    quantiles_seconds: dict[str, float] = {}
    delegation: ToolDelegation | None = None
    samples: bool = False
    warmup_included: bool = False
