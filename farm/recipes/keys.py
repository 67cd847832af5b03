"""The content address of a build: what determines the artifact, and nothing else, so that nothing is built twice."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import InfrastructureError
from farm.recipes import caffe2, specification, transforms
from farm.recipes.runtimes import BUILDERS
from farm.recipes.toolchains import TOOL_PREFIX
from farm.types import ModelFormat, Recipe, Sha256, digest_of


def tool_versions(recipe: Recipe) -> dict[str, str]:
    """Versions of the tools that would build it here. Raises InfrastructureError where one is not installed."""
    needed = specification.tools(recipe)
    versions = specification.installed(needed)
    if missing := [tool for tool in needed if tool not in versions]:
        raise InfrastructureError(
            f"Recipe {recipe.name!r} cannot be built here: {', '.join(missing)} is not installed.",
            remedy=_remedy(recipe, missing),
        )
    return versions


def _remedy(recipe: Recipe, missing: list[str]) -> str:
    named = [tool.removeprefix(TOOL_PREFIX) for tool in missing if tool.startswith(TOOL_PREFIX)]
    sdks = [tool for tool in missing if tool.startswith("$")]
    remedies = [f"set {sdk[1:]} to the folder of its SDK" for sdk in sdks]
    if len(sdks) + len(named) < len(missing):
        own = (*sdks, *(f"{TOOL_PREFIX}{name}" for name in named), *BUILDERS[recipe.runtime].TOOLS)
        words = [f"'torchfarm[{BUILDERS[recipe.runtime].EXTRA}]'", *(tool for tool in missing if tool not in own)]
        remedies.append(f"pip install {' '.join(words)}")
    remedies += [f"farm toolchains make {name}" for name in named]
    return f"On the head and wherever builds run: {'; '.join(remedies)}."


def build_key(
    model_id: Sha256, recipe: Recipe, versions: Mapping[str, str], model_format: ModelFormat = ModelFormat.PT2
) -> Sha256:
    """Hash of the model, the recipe (but not its name and limits), the tools and the versions of our own code."""
    ours = specification.versions(recipe)
    if model_format == ModelFormat.CAFFE2:
        ours |= {caffe2.LABEL: caffe2.VERSION}
    return digest_of({"model": model_id, "recipe": recipe.digest, "tools": dict(versions), "ours": ours})


def student_keys(model_id: Sha256, recipe: Recipe) -> tuple[Sha256, ...]:
    """Of each distillation of the recipe, in order: a hash of the model, the transforms up to it, and the versions of
    their tools here and of our own code of them. What comes after it changes nothing about its student."""
    keys = []
    for stage in specification.stages(recipe):
        modules = [transforms.find(transform) for transform in stage]
        tools = specification.installed(dict.fromkeys(tool for module in modules for tool in module.TOOLS))
        made = [transform.model_dump(mode="json") for transform in stage]
        ours = [module.VERSION for module in modules]
        keys.append(digest_of({"model": model_id, "transforms": made, "tools": tools, "ours": ours}))
    return tuple(keys)
