"""``farm recipes``: the presets, and whether they can be built and run."""

from __future__ import annotations

import typer
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.recipes.toolchains import TOOL_PREFIX
from farm.types import RecipeInfo


def recipes(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Recipes that the farm knows, and what each one lacks."""
    with connect(context) as client:
        found = client.recipes()
    columns = ("recipe", "usable", "takes", "what it makes", "tools")
    output.emit(found, as_json, output.table(columns, map(_row, found), "This farm knows no recipe."))


def _row(info: RecipeInfo) -> tuple[object, ...]:
    usable = output.state("usable") if info.usable else _missing(info.missing)
    tools = ", ".join(f"{name} {version}" for name, version in info.tool_versions.items())
    return info.recipe.name, usable, ", ".join(info.accepts), info.summary, tools


def _missing(tools: tuple[str, ...]) -> Text:
    if all(tool.startswith(TOOL_PREFIX) for tool in tools):
        names = ", ".join(tool.removeprefix(TOOL_PREFIX) for tool in tools)
        return Text(f"after: farm toolchains make {names}", style="yellow")
    return Text(f"missing: {', '.join(tools)}", style="red")
