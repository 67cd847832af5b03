"""Whether a recipe can be made at all, and what it takes. Nothing heavy is imported: tools are looked up by their
packages' metadata."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from farm.errors import RecipeSpecError
from farm.recipes import toolchains, transforms
from farm.recipes.runtimes import BUILDERS
from farm.recipes.toolchains.environments import Environments
from farm.suggestion import did_you_mean
from farm.types import ModelFormat, Recipe, Transform

REFERENCE_RUNTIME = "reference"
_BATCHES = ("batch", "dynamic-batch")

# Transforms of the program whose outcome only some runtimes can make use of, and why the others cannot. What a
# runtime's own tools make instead (``NATIVE``) is another matter, and its own reasons (``REFUSES``) come first.
_ONLY_FOR = {
    "quantize": (
        ("pytorch", "aotinductor", "torchscript"),
        "its tools do not quantize like that, and PyTorch's integer operators are not converted",
    ),
    "channels-last": (
        ("pytorch", "torchscript", "pytorch-mobile"),
        "its converter and its kernels choose the layout themselves",
    ),
    "dynamic-batch": (
        ("pytorch", "aotinductor", "onnxruntime", "executorch"),
        "the farm builds its programs for one size; take batch",
    ),
}


def complete(recipe: Recipe) -> Recipe:
    """The recipe with all options of its runtime spelled out. Raises RecipeSpecError where it cannot be made."""
    runtimes = [runtime for runtime in BUILDERS if runtime != REFERENCE_RUNTIME]
    if recipe.runtime not in runtimes:
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: there is no runtime {recipe.runtime!r}.{did_you_mean(recipe.runtime, runtimes)}",
            remedy=f"Use one of {', '.join(runtimes)}.",
        )
    _check_options(recipe)
    defaults = {name: values[0] for name, values in BUILDERS[recipe.runtime].OPTIONS.items()}
    completed = recipe.model_copy(update={"options": defaults | recipe.options})
    divided(completed)
    return completed


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
        is_native = any(key in builder.NATIVE for key in _keys(recipe, transform))
        if why := _refusal(recipe, transform, is_native=is_native):
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {recipe.runtime} cannot be built with {transform.label}: {why}.",
                remedy="Leave the transform out, or take another runtime.",
            )
        if is_native:
            native.append(transform)
        elif native:
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {transform.label} comes after {native[-1].label}, which {recipe.runtime}'s "
                "own tools make at the end.",
                remedy=f"Put {transform.label} before it.",
            )
        elif transform.kind in _BATCHES and on_program:
            raise RecipeSpecError(
                f"Recipe {recipe.name!r}: {transform.label} comes after {on_program[-1].label}, which leaves a program "
                "of fixed shapes.",
                remedy=f"Put {transform.label} first, and only once.",
            )
        else:
            transforms.find(transform)
            on_program.append(transform)
    if len({transform.kind for transform in native}) < len(native):
        raise RecipeSpecError(
            f"Recipe {recipe.name!r} says {native[0].kind} twice.", remedy="Say it once: the last one would win."
        )
    return tuple(on_program), tuple(native)


def _refusal(recipe: Recipe, transform: Transform, *, is_native: bool) -> str | None:
    """Why its runtime does not take the transform, at all or with one of the recipe's options."""
    refuses = BUILDERS[recipe.runtime].REFUSES
    if why := next((refuses[key] for key in _keys(recipe, transform) if key in refuses), None):
        return why
    able, reason = _ONLY_FOR.get(transform.kind, ((recipe.runtime,), ""))
    return None if is_native or recipe.runtime in able else reason


def _keys(recipe: Recipe, transform: Transform) -> Iterator[str]:
    """What a builder may call it: its label or kind, alone or with an option (``fp16 backend=coreml``)."""
    options = ["", *(f" {name}={value}" for name, value in recipe.options.items())]
    return (f"{word}{option}" for word in (transform.label, transform.kind) for option in options)


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


def may_use_gpu(recipe: Recipe) -> bool:
    """Whether its build gets a GPU where there is one: what needs it, and what trains."""
    return needs_gpu(recipe.runtime) or trains(recipe)


def trains(recipe: Recipe) -> bool:
    return bool(stages(recipe))


def stages(recipe: Recipe) -> list[tuple[Transform, ...]]:
    """Of each distillation, in order: the transforms up to and with it."""
    steps = recipe.transforms
    return [steps[: place + 1] for place, step in enumerate(steps) if step.kind == "distill"]


def installed(wanted: Iterable[str]) -> dict[str, str]:
    """Versions of those distributions, SDKs and toolchains that are there. An SDK's version is the name of its folder,
    a toolchain's its key."""
    found = {}
    site = _site()
    for tool in wanted:
        if tool.startswith("$"):
            if (path := sdks([tool]).get(tool[1:])) is not None:
                found[tool] = path.name
            continue
        if tool.startswith(toolchains.TOOL_PREFIX):
            toolchain = toolchains.find(tool.removeprefix(toolchains.TOOL_PREFIX))
            if Environments(toolchains.directory()).find(toolchain):
                found[tool] = toolchain.key
            continue
        if version := _version(tool, site):
            found[tool] = version
    return found


def _site() -> tuple[int, ...]:
    """Changes when a package is installed, upgraded or removed: its folder of metadata has the version in its name."""
    return tuple(Path(place).stat().st_mtime_ns for place in sys.path if place and Path(place).is_dir())


@functools.lru_cache(maxsize=1000)
def _version(distribution: str, site: tuple[int, ...]) -> str | None:
    """Kept, because finding and reading its metadata takes milliseconds, and a submission asks for hundreds."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def sdks(wanted: Iterable[str]) -> dict[str, Path]:
    """The folders of those tools that are written ``$VARIABLE``, by variable; what is set wrongly is left out."""
    names = (tool[1:] for tool in wanted if tool.startswith("$"))
    paths = {name: Path(os.environ[name]).resolve() for name in names if os.environ.get(name)}
    return {name: path for name, path in paths.items() if path.is_dir()}
