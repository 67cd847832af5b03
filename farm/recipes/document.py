"""Recipes in YAML: a list of names and of recipes spelled out, as ``farm submit --recipes FILE`` and sweeps take them.

- onnxruntime-int8
- runtime: executorch
  options: {backend: xnnpack}
  transforms:
    - {kind: prune, amount: 0.5, structured: true}
    - {kind: quantize, dtype: int8, mode: static}
  parity: {min_cosine: 0.98}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from farm.errors import RecipeSpecError
from farm.recipes.presets import parse
from farm.types import Recipe


def read(path: Path) -> tuple[Recipe, ...]:
    """Raises RecipeSpecError that points at the file and line."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeSpecError(f"{path} cannot be read: {error}.", remedy="Give a YAML file with recipes.") from error
    return recipes(text, str(path))


def recipes(text: str, name: str) -> tuple[Recipe, ...]:
    """``name`` is for messages. Raises RecipeSpecError."""
    try:
        document, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RecipeSpecError(f"{name} is no YAML: {error}.", remedy="Correct it there.") from error
    if not isinstance(document, list) or not document or not isinstance(tree, yaml.SequenceNode):
        raise RecipeSpecError(f"{name} holds no list of recipes.", remedy="Write one recipe after a dash per entry.")
    return tuple(
        _recipe(item, f"{name}, line {node.start_mark.line + 1}")
        for item, node in zip(document, tree.value, strict=True)
    )


def _recipe(item: Any, where: str) -> Recipe:
    if not isinstance(item, str | dict):
        raise RecipeSpecError(f"{where}: {item!r} is no recipe.", remedy="Write a preset's name, or runtime: NAME.")
    try:
        return parse(item)
    except RecipeSpecError as error:
        raise RecipeSpecError(f"{where}: {error.message}", remedy=error.remedy) from error
