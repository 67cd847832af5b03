"""A submission against what the farm knows now: the model, the devices, the recipes."""

from __future__ import annotations

import random

from farm.config import Settings
from farm.planning.expansion import Expansion, expand
from farm.planning.operators import check_operators
from farm.store.reading import Reading
from farm.types import Model, Recipe, RunSpec


def expanded(spec: RunSpec, reading: Reading, settings: Settings) -> tuple[RunSpec, Model, Expansion]:
    """The spec with its recipes spelled out, its model, and what it comes to. Writes nothing.

    Raises NotFoundError, SelectorError, RecipeSpecError, ForbiddenError, TooLargeError, UserError.
    """
    from farm.recipes import keys, presets

    spec = spec.model_copy(update={"recipes": tuple(presets.parse(recipe) for recipe in spec.recipes)})
    model, devices = reading.model(spec.model), reading.devices()

    def key_of(recipe: Recipe) -> str:
        return keys.build_key(model.id, recipe, keys.tool_versions(recipe), model.spec.format)

    check_operators(model.spec, settings)
    rng = random.Random()  # noqa: S311 - spreads load, guards nothing
    expansion = expand(spec, model, devices, presets.infos(), reference=presets.REFERENCE, key_of=key_of, rng=rng)
    return spec, model, expansion
