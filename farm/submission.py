"""What a client makes of the arguments of ``submit``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from farm.errors import RecipeSpecError, UserError
from farm.recipes.caffe2.pair import PREDICT
from farm.types import Model, Recipe, RecipeInfo, RunSpec

Recipes = Sequence[str | dict[str, Any] | Recipe] | Path | Literal["all"]


def run_spec(**fields: Any) -> RunSpec:
    """Raises UserError."""
    try:
        return RunSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {first['msg']}.", remedy="Correct it and submit again.") from error


def parse_recipes(wanted: Sequence[str | dict[str, Any] | Recipe] | Path) -> tuple[Recipe, ...]:
    """``wanted`` may be a YAML file (``farm.recipes.document``). Raises RecipeSpecError."""
    from farm.recipes import document
    from farm.recipes.presets import parse

    if isinstance(wanted, Path):
        return document.read(wanted)

    if not wanted:
        raise RecipeSpecError("No recipe was given.", remedy='Name some, or say "all"; `farm recipes` lists them.')
    return tuple(parse(recipe) for recipe in ([wanted] if isinstance(wanted, str) else wanted))


def recipes_for(model: Model, infos: Sequence[RecipeInfo], url: str) -> tuple[Recipe, ...]:
    """All that are usable at the farm and take the model. Raises RecipeSpecError if none does."""
    found = tuple(info.recipe for info in infos if _suits(info, model))
    if not found:
        raise RecipeSpecError(
            f"No recipe is usable at {url} for a model in {model.spec.format} format.",
            remedy="`farm recipes` shows what each one lacks.",
        )
    return found


def _suits(info: RecipeInfo, model: Model) -> bool:
    return info.usable and model.spec.format in info.accepts and model.spec.runs_on(info.recipe.runtime)


def is_uploaded(model: object) -> bool:
    """A model at the farm, or what can only be the name of one."""
    if isinstance(model, str):
        return not Path(model).is_file() and not (Path(model) / PREDICT).is_file()
    return isinstance(model, Model)
