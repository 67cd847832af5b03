"""The recipes that the farm knows by name. Each runtime's module brings its own (``PRESETS``)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from farm.errors import RecipeSpecError
from farm.recipes.runtimes import BUILDERS
from farm.recipes.specification import REFERENCE_RUNTIME, accepts, complete, installed, tools
from farm.suggestion import did_you_mean
from farm.types import Recipe, RecipeInfo
from farm.types.recipes import FP32

REFERENCE = Recipe(name="reference", runtime=REFERENCE_RUNTIME, parity=FP32)

_PRESETS = {
    recipe.name: (complete(recipe), summary)
    for runtime, builder in BUILDERS.items()
    if runtime != REFERENCE_RUNTIME
    for recipe, summary in builder.PRESETS
}


def names() -> list[str]:
    return list(_PRESETS)


def preset(name: str) -> Recipe:
    """The preset of that name. Raises RecipeSpecError with the nearest names."""
    if name not in _PRESETS:
        raise RecipeSpecError(
            f"There is no recipe {name!r}.{did_you_mean(name, _PRESETS)}",
            remedy=f"`farm recipes` lists them: {', '.join(_PRESETS)}.",
        )
    return _PRESETS[name][0]


def parse(recipe: str | dict[str, Any] | Recipe) -> Recipe:
    """A recipe by name, or spelled out and checked. Raises RecipeSpecError naming what is wrong."""
    if isinstance(recipe, str):
        return preset(recipe)
    if not isinstance(recipe, Recipe):
        try:
            recipe = Recipe.model_validate(recipe)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise RecipeSpecError(
                f"The recipe's {place or 'form'} cannot be used: {first['msg']}.",
                remedy="Name a preset, or give a runtime, and if you like transforms, options, name and parity.",
            ) from error
    recipe = complete(recipe)
    known = _PRESETS.get(recipe.name)
    if known is not None and known[0].digest != recipe.digest:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} differs from the preset of that name.", remedy="Give it another name."
        )
    return recipe


def infos() -> list[RecipeInfo]:
    """All presets, with what is installed or missing here."""
    found = []
    for recipe, summary in _PRESETS.values():
        needed = tools(recipe)
        versions = installed(needed)
        missing = tuple(tool for tool in needed if tool not in versions)
        found.append(
            RecipeInfo(
                recipe=recipe,
                summary=summary,
                usable=not missing,
                missing=missing,
                accepts=accepts(recipe),
                tool_versions=versions,
            )
        )
    return found


def buildable_runtimes() -> set[str]:
    """The runtimes whose tools are installed here."""
    return {name for name, builder in BUILDERS.items() if set(builder.TOOLS) == installed(builder.TOOLS).keys()}
