"""What is searched: runtimes, how each is quantized or cast, what is done to the program before, and threads. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from farm.errors import RecipeSpecError
from farm.types import Cast, Quantize, Recipe, RecipeInfo, Transform

Config = Mapping[str, str | int]
Before = tuple[Transform, ...]


class Chooser(Protocol):
    """The one call of an Optuna trial that is made here."""

    def suggest_categorical(self, name: str, choices: Sequence[str | int]) -> str | int: ...


@dataclass(frozen=True)
class Space:
    """``engines``: runtime with its options, to its precisions (labels of transforms to a recipe with them).

    ``before``: label to transforms of the program that come first. A configuration names one of each.
    """

    engines: Mapping[str, Mapping[str, Recipe]]
    before: Mapping[str, Before]
    threads: tuple[int, ...]

    def choose(self, chooser: Chooser) -> None:
        """Ask for one configuration; what there is to choose depends on the engine."""
        engine = str(chooser.suggest_categorical("engine", sorted(self.engines)))
        chooser.suggest_categorical(f"precision of {engine}", sorted(self.engines[engine]))
        chooser.suggest_categorical("before", list(self.before))
        chooser.suggest_categorical("threads", list(self.threads))

    def recipe(self, config: Config) -> Recipe:
        """What a configuration stands for."""
        engine = str(config["engine"])
        variant = self.engines[engine][str(config[f"precision of {engine}"])]
        before = self.before[str(config["before"])]
        if not before:
            return variant
        return Recipe(
            variant.runtime,
            name="-".join([variant.name, *(transform.label for transform in before)])[:100],
            transforms=(*before, *variant.transforms),
            options=variant.options,
        )

    @property
    def size(self) -> int:
        return sum(map(len, self.engines.values())) * len(self.before) * len(self.threads)


def space(
    infos: Sequence[RecipeInfo], runtimes: frozenset[str], before: Sequence[Before], threads: Sequence[int]
) -> Space:
    """From the presets that are usable and that the devices can run. Raises RecipeSpecError where none is left."""
    engines: dict[str, dict[str, Recipe]] = {}
    for info in infos:
        recipe = info.recipe
        if not (info.usable and recipe.runtime in runtimes and _is_plain(recipe)):
            continue
        engine = "-".join([recipe.runtime, *(f"{key}={recipe.options[key]}" for key in sorted(recipe.options))])
        precision = "-".join(transform.label for transform in recipe.transforms) or "as it is"
        engines.setdefault(engine, {})[precision] = recipe
    if not engines:
        raise RecipeSpecError(
            "There is no recipe to search among: none is usable and runs on these devices.",
            remedy="`farm recipes` shows what each one lacks, `farm devices` what the devices run.",
        )
    choices = {"-".join(transform.label for transform in steps) or "nothing": tuple(steps) for steps in [(), *before]}
    return Space(engines, choices, tuple(dict.fromkeys(threads)) or (1,))


def _is_plain(recipe: Recipe) -> bool:
    """Without transforms of the program: those are searched apart from it."""
    return all(isinstance(transform, Cast | Quantize) for transform in recipe.transforms)
