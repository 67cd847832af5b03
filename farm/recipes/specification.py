"""Whether a recipe can be made at all, and what it takes. Nothing heavy is imported: tools are looked up by their
packages' metadata."""

from __future__ import annotations

import difflib
import importlib.metadata
from collections.abc import Iterable

from farm.errors import RecipeSpecError
from farm.recipes import toolchains, transforms
from farm.recipes.runtimes import BUILDERS
from farm.recipes.toolchains.environments import Environments
from farm.types import ModelFormat, Recipe, Transform

REFERENCE_RUNTIME = "reference"


def complete(recipe: Recipe) -> Recipe:
    """The recipe with all options of its runtime spelled out. Raises RecipeSpecError where it cannot be made."""
    runtimes = [runtime for runtime in BUILDERS if runtime != REFERENCE_RUNTIME]
    if recipe.runtime not in runtimes:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: there is no runtime {recipe.runtime!r}.{did_you_mean(recipe.runtime, runtimes)}",
            remedy=f"Use one of {', '.join(runtimes)}.",
        )
    _check_options(recipe)
    divided(recipe)
    defaults = {name: values[0] for name, values in BUILDERS[recipe.runtime].OPTIONS.items()}
    return recipe.model_copy(update={"options": defaults | recipe.options})


def _check_options(recipe: Recipe) -> None:
    known = BUILDERS[recipe.runtime].OPTIONS
    for option, value in recipe.options.items():
        # True == 1, and yet it is another value.
        if not any(value == allowed and type(value) is type(allowed) for allowed in known.get(option, ())):
            listed = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in known.items())
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {recipe.runtime} does not know the option {option}={value!r}."
                f"{did_you_mean(option, known)}",
                remedy=f"Options of {recipe.runtime}: {listed or 'none'}.",
            )


def divided(recipe: Recipe) -> tuple[tuple[Transform, ...], tuple[Transform, ...]]:
    """The transforms of the PyTorch program, and those that the runtime's own tools make afterwards.

    Raises RecipeSpecError for an order or a combination that cannot be made.
    """
    builder = BUILDERS[recipe.runtime]
    on_program: list[Transform] = []
    native: list[Transform] = []
    for transform in recipe.transforms:
        if why := builder.REFUSES.get(transform.label) or builder.REFUSES.get(transform.kind):
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {recipe.runtime} cannot be built with {transform.label}: {why}.",
                remedy="Leave the transform out, or take another runtime.",
            )
        if transform.label in builder.NATIVE or transform.kind in builder.NATIVE:
            native.append(transform)
        elif native:
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {transform.label} comes after {native[-1].label}, which {recipe.runtime}'s "
                "own tools make at the end.",
                remedy=f"Put {transform.label} before it.",
            )
        else:
            transforms.find(transform)
            on_program.append(transform)
    if len({transform.kind for transform in native}) < len(native):
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} says {native[0].kind} twice.", remedy="Say it once: the last one would win."
        )
    return tuple(on_program), tuple(native)


def tools(recipe: Recipe) -> tuple[str, ...]:
    """Distributions that building it takes."""
    builder = BUILDERS[recipe.runtime]
    on_program, native = divided(recipe)
    keys = [transform.label for transform in native] + [f"{key}={value}" for key, value in recipe.options.items()]
    more = [tool for key in keys for tool in builder.TOOLS_FOR.get(key, ())]
    more += [tool for transform in on_program for tool in transforms.find(transform).TOOLS]
    return tuple(dict.fromkeys([*builder.TOOLS, *more]))


def versions(recipe: Recipe) -> dict[str, int]:
    """Of our own code that makes it, by part."""
    parts = {recipe.runtime: BUILDERS[recipe.runtime].VERSION}
    return parts | {transform.label: transforms.find(transform).VERSION for transform in divided(recipe)[0]}


def check_accepts(recipe: Recipe, model_format: ModelFormat) -> None:
    """Raises RecipeSpecError where a program of this format cannot be built by the recipe."""
    if model_format in accepts(recipe):
        return
    uploaded = ModelFormat.ONNX if model_format == ModelFormat.CAFFE2 else model_format
    able = [name for name, builder in BUILDERS.items() if uploaded in builder.ACCEPTS and name != REFERENCE_RUNTIME]
    raise RecipeSpecError(
        f"Recipe {recipe.name!r} cannot be built from a model in {model_format.value} format.",
        remedy=f"From {model_format.value} there are recipes for {', '.join(able)}, without transforms of the "
        "PyTorch program. From an nn.Module or .pt2 there are all.",
    )


def accepts(recipe: Recipe) -> tuple[ModelFormat, ...]:
    """Formats that it can be built from: transforms of the program need one of PyTorch. Caffe2 becomes ONNX first."""
    taken = tuple(BUILDERS[recipe.runtime].ACCEPTS)
    if ModelFormat.ONNX in taken:
        taken = (*taken, ModelFormat.CAFFE2)
    if divided(recipe)[0]:
        return tuple(format for format in taken if format in (ModelFormat.PT2, ModelFormat.TORCHSCRIPT))
    return taken


def needs_gpu(runtime: str) -> bool:
    """Whether its artifacts are built on machines with an NVIDIA GPU alone."""
    return bool(getattr(BUILDERS.get(runtime), "NEEDS_GPU", False))


def installed(wanted: Iterable[str]) -> dict[str, str]:
    """Versions of those distributions that are installed, and of toolchains that are made."""
    found = {}
    for tool in wanted:
        if tool.startswith(toolchains.TOOL_PREFIX):
            toolchain = toolchains.find(tool.removeprefix(toolchains.TOOL_PREFIX))
            if Environments(toolchains.directory()).find(toolchain):
                found[tool] = toolchain.key
            continue
        try:
            found[tool] = importlib.metadata.version(tool)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""
