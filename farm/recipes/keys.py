"""The content address of a build: what determines the artifact, and nothing else, so that nothing is built twice."""

from __future__ import annotations

from collections.abc import Mapping

from farm.errors import InfrastructureError
from farm.recipes import caffe2, specification
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
            remedy=f"Install it on the head: {_how(missing, BUILDERS[recipe.runtime].EXTRA)}.",
        )
    return versions


def _how(missing: list[str], extra: str) -> str:
    named = [tool.removeprefix(TOOL_PREFIX) for tool in missing if tool.startswith(TOOL_PREFIX)]
    installed = [] if len(named) == len(missing) else [f"pip install 'torchfarm[{extra}]'"]
    return " && ".join([*installed, *(f"farm toolchains make {name}" for name in named)])


def build_key(
    model_id: Sha256, recipe: Recipe, versions: Mapping[str, str], model_format: ModelFormat = ModelFormat.PT2
) -> Sha256:
    """Hash of the model, the recipe (but not its name and limits), the tools and the versions of our own code."""
    ours = specification.versions(recipe)
    if model_format == ModelFormat.CAFFE2:
        ours |= {caffe2.LABEL: caffe2.VERSION}
    return digest_of({"model": model_id, "recipe": recipe.digest, "tools": dict(versions), "ours": ours})
