"""The recipes that the farm knows by name, and which programs each can be built from.

Light on purpose: whether a tool is there is asked of the installed packages' metadata, nothing is imported.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from farm.errors import RecipeSpecError
from farm.recipes.runtimes import BUILDERS
from farm.types import ModelFormat, ParityLimits, Quantize, Recipe, RecipeInfo

FP32 = ParityLimits(min_cosine=0.9999, max_abs_error_ratio=0.001)
INT8 = ParityLimits(min_cosine=0.99)

REFERENCE = Recipe(name="reference", runtime="reference", parity=FP32)


def _recipe(name: str, runtime: str, *, int8: bool = False, **options: str | int | float | bool) -> Recipe:
    transforms = (Quantize(),) if int8 else ()
    return Recipe(name=name, runtime=runtime, transforms=transforms, options=options, parity=INT8 if int8 else FP32)


_PRESETS = {
    recipe.name: (recipe, summary)
    for recipe, summary in (
        (_recipe("pytorch", "pytorch"), "Eager PyTorch: the baseline."),
        (_recipe("torchscript", "torchscript"), "TorchScript, traced and frozen."),
        (_recipe("pytorch-mobile", "pytorch-mobile"), "PyTorch Mobile's lite interpreter (.ptl)."),
        (_recipe("executorch-xnnpack", "executorch", backend="xnnpack"), "ExecuTorch on XNNPACK, fp32."),
        (
            _recipe("executorch-xnnpack-int8", "executorch", int8=True, backend="xnnpack"),
            "ExecuTorch on XNNPACK, static int8 (PT2E).",
        ),
        (_recipe("onnxruntime", "onnxruntime"), "ONNX Runtime, fp32."),
        (_recipe("onnxruntime-int8", "onnxruntime", int8=True), "ONNX Runtime, static int8 (QDQ)."),
        (_recipe("litert", "litert"), "LiteRT (TensorFlow Lite), fp32."),
    )
}


def names() -> list[str]:
    return list(_PRESETS)


def preset(name: str) -> Recipe:
    """The preset of that name. Raises RecipeSpecError with the nearest names."""
    if name not in _PRESETS:
        raise RecipeSpecError(
            f"There is no recipe {name!r}.{_did_you_mean(name, _PRESETS)}",
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
                remedy="Name a preset, or give name, runtime, transforms, options and parity.",
            ) from error
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    runtimes = [runtime for runtime in BUILDERS if runtime != REFERENCE.runtime]
    if recipe.runtime not in runtimes:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: there is no runtime {recipe.runtime!r}.{_did_you_mean(recipe.runtime, runtimes)}",
            remedy=f"Use one of {', '.join(runtimes)}.",
        )
    known = _PRESETS.get(recipe.name)
    if known is not None and known[0].digest != recipe.digest:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} differs from the preset of that name.", remedy="Give it another name."
        )
    builder = BUILDERS[recipe.runtime]
    if recipe.transforms and not (builder.QUANTIZES and recipe.transforms == (Quantize(),)):
        able = ", ".join(runtime for runtime in runtimes if BUILDERS[runtime].QUANTIZES)
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: {recipe.runtime} cannot be built with these transforms.",
            remedy=f"One static int8 quantization is what there is, for {able}.",
        )
    for option, value in recipe.options.items():
        if value not in builder.OPTIONS.get(option, ()):
            allowed = "; ".join(f"{name}: {', '.join(values)}" for name, values in builder.OPTIONS.items())
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {recipe.runtime} does not know the option {option}={value!r}."
                f"{_did_you_mean(option, builder.OPTIONS)}",
                remedy=f"Options of {recipe.runtime}: {allowed or 'none'}.",
            )
    if absent := [option for option in builder.OPTIONS if option not in recipe.options]:
        values = ", ".join(builder.OPTIONS[absent[0]])
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} does not say which {absent[0]}.", remedy=f"Set options: {absent[0]}={values}."
        )


def check_accepts(recipe: Recipe, model_format: ModelFormat) -> None:
    """Raises RecipeSpecError where a program of this format cannot be built by the recipe."""
    if model_format not in BUILDERS[recipe.runtime].ACCEPTS:
        able = ", ".join(
            name for name, (other, _) in _PRESETS.items() if model_format in BUILDERS[other.runtime].ACCEPTS
        )
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} cannot be built from a model in {model_format.value} format.",
            remedy=f"From {model_format.value} there are: {able}. From an nn.Module or .pt2 there are all.",
        )


def infos() -> list[RecipeInfo]:
    """All presets, with what is installed or missing here."""
    found = []
    for recipe, summary in _PRESETS.values():
        builder = BUILDERS[recipe.runtime]
        versions = installed(builder.TOOLS)
        missing = tuple(tool for tool in builder.TOOLS if tool not in versions)
        found.append(
            RecipeInfo(
                recipe=recipe,
                summary=summary,
                usable=not missing,
                missing=missing,
                accepts=builder.ACCEPTS,
                tool_versions=versions,
            )
        )
    return found


def buildable_runtimes() -> set[str]:
    """The runtimes whose tools are installed here."""
    return {name for name, builder in BUILDERS.items() if set(builder.TOOLS) == installed(builder.TOOLS).keys()}


def installed(tools: Iterable[str]) -> dict[str, str]:
    """Versions of those distributions that are installed."""
    versions = {}
    for tool in tools:
        try:
            versions[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""
