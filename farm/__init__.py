"""Torchfarm: which variant of a PyTorch model to ship on which device, in numbers you can trust.

    import farm

    client = farm.Client()
    run = client.submit(model, example_inputs=(x,), recipes=["executorch-xnnpack"], devices="platform=linux")
    run.wait(progress=True)
    print(run.compare())

Public names are imported when first used, so that ``import farm`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.analysis.comparison import Comparison
    from farm.client import AsyncClient, Client
    from farm.embedded import embedded_farm
    from farm.errors import (
        AuthError,
        ConfigError,
        ConflictError,
        DeviceError,
        FarmError,
        ForbiddenError,
        InfrastructureError,
        InternalError,
        ModelError,
        NotFoundError,
        QuotaError,
        RecipeError,
        RecipeSpecError,
        SelectorError,
        TooLargeError,
        UserError,
    )
    from farm.evaluation import EvaluationSet
    from farm.inputs import Input
    from farm.recipes.transforms.combine import fused
    from farm.runs import AsyncRunHandle, RunHandle
    from farm.steps import with_steps
    from farm.types import ParityLimits, Protocol, Quantize, Recipe, Scenario
    from farm.types.transforms import (
        batch,
        cast,
        channels_last,
        distill,
        dynamic_batch,
        fuse,
        palettize,
        plugin,
        prune,
        quantize,
    )

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "AuthError",
    "Client",
    "Comparison",
    "ConfigError",
    "ConflictError",
    "DeviceError",
    "EvaluationSet",
    "FarmError",
    "ForbiddenError",
    "InfrastructureError",
    "Input",
    "InternalError",
    "ModelError",
    "NotFoundError",
    "ParityLimits",
    "Protocol",
    "Quantize",
    "QuotaError",
    "Recipe",
    "RecipeError",
    "RecipeSpecError",
    "RunHandle",
    "Scenario",
    "SelectorError",
    "TooLargeError",
    "UserError",
    "batch",
    "cast",
    "channels_last",
    "distill",
    "dynamic_batch",
    "embedded_farm",
    "fuse",
    "fused",
    "palettize",
    "plugin",
    "prune",
    "quantize",
    "with_steps",
]

_HOMES = {
    "AsyncClient": "farm.client",
    "AsyncRunHandle": "farm.runs",
    "Client": "farm.client",
    "embedded_farm": "farm.embedded",
    "Comparison": "farm.analysis.comparison",
    "EvaluationSet": "farm.evaluation",
    "Input": "farm.inputs",
    "ParityLimits": "farm.types",
    "Protocol": "farm.types",
    "Quantize": "farm.types",
    "Recipe": "farm.types",
    "RunHandle": "farm.runs",
    "Scenario": "farm.types",
    "batch": "farm.types.transforms",
    "cast": "farm.types.transforms",
    "channels_last": "farm.types.transforms",
    "distill": "farm.types.transforms",
    "dynamic_batch": "farm.types.transforms",
    "fuse": "farm.types.transforms",
    "fused": "farm.recipes.transforms.combine",
    "palettize": "farm.types.transforms",
    "plugin": "farm.types.transforms",
    "prune": "farm.types.transforms",
    "with_steps": "farm.steps",
    "quantize": "farm.types.transforms",
}  # what is not here is an error class


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'farm' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES.get(name, "farm.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
