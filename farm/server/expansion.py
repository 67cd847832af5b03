"""What a submission comes to: its jobs and the builds they need. Pure; all checks that need no build are here."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.errors import RecipeSpecError, TooLargeError, UserError
from farm.selectors import parse, select
from farm.store.transaction import NewJob
from farm.types import Device, DeviceState, Model, ModelFormat, Recipe, RecipeInfo, RunSpec

MAX_JOBS = 10_000


@dataclass(frozen=True)
class Expansion:
    jobs: tuple[NewJob, ...]
    builds: Mapping[str, Recipe]  # by build key


def expand(
    spec: RunSpec,
    model: Model,
    devices: Sequence[Device],
    infos: Sequence[RecipeInfo],
    *,
    reference: Recipe,
    key_of: Callable[[Recipe], str],
    rng: random.Random,
) -> Expansion:
    """``reference`` is built too where the model came without reference outputs; ``key_of`` names a recipe's build.

    Jobs come device by device, there scenario by scenario, so that the variants of a model are measured one
    right after the other. Raises SelectorError, RecipeSpecError, TooLargeError, UserError.
    """
    _check_unique("recipe", [recipe.name for recipe in spec.recipes])
    _check_unique("scenario", [str(scenario) for scenario in spec.scenarios])
    for recipe in spec.recipes:
        _check_recipe(recipe, model.spec.format, infos)
    chosen = select(parse(spec.devices), devices, rng)
    _check_devices(spec, chosen)
    count = len(chosen) * len(spec.scenarios) * len(spec.recipes)
    if count > MAX_JOBS:
        raise TooLargeError(
            f"This would be {count:,} jobs: {len(chosen)} devices × {len(spec.scenarios)} scenarios × "
            f"{len(spec.recipes)} recipes.",
            remedy=f"A run has at most {MAX_JOBS:,}: choose fewer, or split it.",
        )
    keys = {recipe.name: key_of(recipe) for recipe in spec.recipes}
    builds = {keys[recipe.name]: recipe for recipe in spec.recipes}
    reference_key = None
    if model.spec.reference_outputs is None:
        reference_key = key_of(reference)
        builds[reference_key] = reference
    away = all(device.state is DeviceState.OFFLINE for device in chosen)
    jobs = tuple(
        NewJob(
            recipe=recipe,
            build_key=keys[recipe.name],
            reference_key=reference_key,
            device_id=device.id,
            scenario=scenario,
            reason=f"warning: every device that matches is offline; waits for {device.id}" if away else "",
        )
        for device in chosen
        for scenario in spec.scenarios
        for recipe in spec.recipes
    )
    return Expansion(jobs, builds)


def _check_unique(what: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f"The {what} {twice[0]!r} is listed more than once.",
            remedy=f"List it once; give {what}s that differ different names.",
        )


def _check_recipe(recipe: Recipe, format: ModelFormat, infos: Sequence[RecipeInfo]) -> None:
    same_runtime = [info for info in infos if info.recipe.runtime == recipe.runtime]
    if not same_runtime:
        runtimes = sorted({info.recipe.runtime for info in infos})
        near = difflib.get_close_matches(recipe.runtime, runtimes, n=3)
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: this farm knows no runtime {recipe.runtime!r}.",
            remedy=f"Did you mean {' or '.join(near)}?" if near else f"Runtimes are {', '.join(runtimes)}.",
        )
    info = max(same_runtime, key=lambda info: (info.recipe.digest == recipe.digest, _likeness(info.recipe, recipe)))
    if not info.usable:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} cannot be built at this farm: missing {', '.join(info.missing)}.",
            remedy="Have the operator install what is missing on the head (`farm doctor`), or leave the recipe out.",
            details={"missing": list(info.missing)},
        )
    if format not in info.accepts:
        others = sorted(other.recipe.name for other in infos if other.usable and format in other.accepts)
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} takes {_listed(info.accepts)} models; this one is {format}.",
            remedy=f"Recipes that take {format}: {_listed(others)}." if others else "Upload it in another format.",
        )


def _likeness(preset: Recipe, recipe: Recipe) -> bool:
    """Presets of one runtime differ in what their transforms need to be installed."""
    return {step.kind for step in preset.transforms} == {step.kind for step in recipe.transforms}


def _check_devices(spec: RunSpec, devices: Sequence[Device]) -> None:
    problems: list[str] = []
    remedies: list[str] = []
    for runtime in sorted({recipe.runtime for recipe in spec.recipes}):
        lacking = [device.id for device in devices if runtime not in device.facts.runtimes]
        if lacking:
            names = [recipe.name for recipe in spec.recipes if recipe.runtime == runtime]
            problems.append(f"{_listed(lacking)} cannot run {_listed(names)}: no runtime {runtime} there.")
            remedies.append(f"runtime={runtime}")
    threads = max(scenario.threads for scenario in spec.scenarios)
    small = [f"{device.id} ({device.facts.cpu_count})" for device in devices if device.facts.cpu_count < threads]
    if small:
        problems.append(f"{threads} threads are more than the CPUs of {_listed(small)}.")
        remedies.append(f"cpu_count>={threads}")
    if problems:
        raise UserError(
            " ".join(problems),
            remedy=f"Add {', '.join(remedies)} to the selector, or take other recipes or scenarios.",
            details={"problems": problems},
        )


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
