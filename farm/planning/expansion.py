"""What a submission comes to: its jobs and the builds they need. Pure; all checks that need no build are here."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.errors import RecipeSpecError, TooLargeError, UserError
from farm.planning.selection import Selection, choose, matching, out_of_service
from farm.selectors import Selector, parse, values_of
from farm.store.transaction import NewJob
from farm.types import Device, JobOutcome, Model, ModelFormat, Recipe, RecipeInfo, RunSpec, Scenario

MAX_JOBS = 10_000


@dataclass(frozen=True)
class Expansion:
    jobs: tuple[NewJob, ...]
    builds: Mapping[str, Recipe]  # by build key
    pools: Mapping[int, tuple[str, ...]]


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
        _check_batch(recipe, model, spec.scenarios)
        _check_operators(recipe, model)
    selection = _select(spec, devices, rng)
    picks = selection.picks
    count = len(picks) * len(spec.scenarios) * len(spec.recipes)
    if count > MAX_JOBS:
        raise TooLargeError(
            f"This would be {count:,} jobs: {len(picks)} devices × {len(spec.scenarios)} scenarios × "
            f"{len(spec.recipes)} recipes.",
            remedy=f"A run has at most {MAX_JOBS:,}: choose fewer, or split it.",
        )
    keys = {recipe.name: key_of(recipe) for recipe in spec.recipes}
    builds = {keys[recipe.name]: recipe for recipe in spec.recipes}
    reference_key = None
    if model.spec.needs_reference:
        reference_key = key_of(reference)
        builds[reference_key] = reference
    away = all(out_of_service(pick.device) for pick in picks)
    jobs = tuple(
        NewJob(
            recipe=recipe,
            build_key=keys[recipe.name],
            reference_key=reference_key,
            device_id=pick.device.id,
            scenario=scenario,
            reason=_waits_for(pick.device) if away else "",
            pool=pick.pool,
            slot=pick.slot,
        )
        for pick in picks
        for scenario in spec.scenarios
        for recipe in spec.recipes
    )
    return Expansion(jobs, builds, selection.pools)


def find_known(jobs: Sequence[NewJob], measured: Sequence[JobOutcome]) -> list[JobOutcome]:
    """The first of ``measured`` that answers each job, in their order; empty where one has no answer, or where a job
    may still choose its device."""
    found = []
    for job in jobs:
        answers = (
            outcome
            for outcome in measured
            if outcome.job.build_key == job.build_key
            and outcome.job.device_id == job.device_id
            and outcome.job.scenario == job.scenario
            and outcome.job.recipe.parity == job.recipe.parity
        )
        answer = next(answers, None)
        if answer is None or job.pool is not None:
            return []
        found.append(answer)
    return found


def _waits_for(device: Device) -> str:
    why = out_of_service(device)
    return f"warning: every device that matches is out of service; waits for {device.id}, which is {why}"


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


def _check_batch(recipe: Recipe, model: Model, scenarios: Iterable[Scenario]) -> None:
    if recipe.largest_batch > 1 and not model.spec.dynamic_batch:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} makes batches, and the model {model.spec.name!r} takes one size only.",
            remedy="Submit the nn.Module with dynamic_batch=True.",
        )
    for scenario in scenarios:
        if scenario.batch > recipe.largest_batch or (scenario.batch > 1 and scenario.batch < recipe.batch):
            takes = f"1 to {recipe.largest_batch}" if recipe.largest_batch > recipe.batch else str(recipe.batch)
            raise RecipeSpecError(
                f"Scenario {scenario} wants batches of {scenario.batch}; recipe {recipe.name!r} takes {takes}.",
                remedy=f"Give the recipe farm.dynamic_batch({scenario.batch}) as its first transform, or measure it in "
                "a run of its own.",
            )


def _check_operators(recipe: Recipe, model: Model) -> None:
    if not model.spec.runs_on(recipe.runtime):
        given = [operators.runtime for operators in model.spec.custom_operators]
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: {model.spec.name} has custom operators for {_listed(given)}, and none for "
            f"{recipe.runtime}.",
            remedy="Leave the recipe out, or upload the model again with operators for this runtime where it takes "
            "them (docs/custom-operators.md).",
        )


def _likeness(preset: Recipe, recipe: Recipe) -> bool:
    """Presets of one runtime differ in what their transforms need to be installed."""
    return {step.kind for step in preset.transforms} == {step.kind for step in recipe.transforms}


def _select(spec: RunSpec, devices: Sequence[Device], rng: random.Random) -> Selection:
    """Where there is a choice, of the devices that can run everything only."""
    selector = parse(spec.devices)
    matched = matching(selector, devices)
    threads = max(scenario.threads for scenario in spec.scenarios)
    needed = {recipe.runtime for recipe in spec.recipes}
    # The harness's runtime is needed where it measures, for the others a native tool.
    runtimes = needed if not spec.keep_unable and any(not scenario.native for scenario in spec.scenarios) else set()
    tooled = [d for d in matched if not any(_toolless(d, s, runtime) for s in spec.scenarios for runtime in needed)]
    able = [d for d in tooled if runtimes.issubset(d.facts.runtimes) and d.facts.cpu_count >= threads]
    if len(tooled) < len(matched) and _lacking(selector, matched, able):
        raise _without_tool(spec, matched, sorted(needed))
    if lacking := _lacking(selector, matched, able):
        raise _unable(spec, selector, matched, threads, lacking)
    return choose(selector.quantifier, able, rng)


def _lacking(selector: Selector, matched: Sequence[Device], able: Sequence[Device]) -> str:
    """What the quantifier asks for and those that are able do not fulfil."""
    quantifier = selector.quantifier
    match quantifier.kind:
        case "each":
            return "Not every device that matches can run this." if len(able) < len(matched) else ""
        case "any" if len(able) < quantifier.count:
            return (
                f"{quantifier} wants {quantifier.count}, and {len(able)} of the {len(matched)} that match can run this."
            )
        case "one per":
            key = quantifier.key
            lost = {values_of(d, key) for d in matched} - {values_of(d, key) for d in able}
            named = sorted(f"with {key}={value[0]}" if value else f"without {key}" for value in lost)
            return f"No device {_listed(named)} can run this." if named else ""
    return ""


def _unable(spec: RunSpec, selector: Selector, devices: Sequence[Device], threads: int, lacking: str) -> UserError:
    problems: list[str] = []
    terms: list[str] = []
    measured_by_harness = any(not scenario.native for scenario in spec.scenarios)
    for runtime in sorted({recipe.runtime for recipe in spec.recipes}) if measured_by_harness else ():
        without = [device.id for device in devices if runtime not in device.facts.runtimes]
        if without:
            names = [recipe.name for recipe in spec.recipes if recipe.runtime == runtime]
            problems.append(f"{_listed(without)} cannot run {_listed(names)}: no runtime {runtime} there.")
            terms.append(f"runtime={runtime}")
    small = [f"{device.id} ({device.facts.cpu_count})" for device in devices if device.facts.cpu_count < threads]
    if small:
        problems.append(f"{threads} threads are more than the CPUs of {_listed(small)}.")
        terms.append(f"cpu_count>={threads}")
    fewer = "Ask for fewer devices" if selector.quantifier.kind == "any" else f"Add {', '.join(terms)} to the selector"
    return UserError(
        " ".join([lacking, *problems]),
        remedy=f"{fewer}, or take other recipes or scenarios.",
        details={"problems": problems},
    )


def _toolless(device: Device, scenario: Scenario, runtime: str) -> bool:
    """Whether the scenario asks for a native tool, and the device has none for it."""
    return scenario.native and not any(
        offer.runtime == runtime and scenario.accelerator in offer.accelerators and scenario.tool in (None, offer.name)
        for offer in device.facts.tools
    )


def _without_tool(spec: RunSpec, devices: Sequence[Device], runtimes: Sequence[str]) -> UserError:
    problems = [
        f"Scenario {scenario} takes {scenario.tool or 'a native tool'} for {runtime} on the {scenario.accelerator}; "
        f"{_listed(without)} has none."
        for scenario in spec.scenarios
        for runtime in runtimes
        if (without := [device.id for device in devices if _toolless(device, scenario, runtime)])
    ]
    return UserError(
        " ".join(problems),
        remedy="Have one registered where the device is attached (`farm tools add`, docs/native-tools.md), name "
        "another recipe or device, or measure on the CPU with the farm's own harness.",
        details={"problems": problems},
    )


def _listed(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
