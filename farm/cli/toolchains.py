"""``farm toolchains``: isolated environments of this machine. Of no other: run it on every machine that builds."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.config import load

app = typer.Typer(help="Isolated environments for tools that cannot live in the farm's own.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the toolchain.")]


@app.command("list")
def list_toolchains(as_json: JsonFlag = False) -> None:
    """What is declared, and what of it is made on this machine."""
    from farm.recipes import toolchains
    from farm.recipes.toolchains.environments import Environments

    environments = Environments(load().toolchains_dir)
    found = {made.path: made for made in environments.all()}
    rows: list[tuple[object, ...]] = []
    for toolchain in toolchains.declared().values():
        made = found.pop(environments.path(toolchain), None)
        size = output.size(made.size_bytes if made else None)
        rows.append((toolchain.name, output.state("usable" if made else "missing"), size, environments.path(toolchain)))
    rows += [(made.toolchain, "outdated", output.size(made.size_bytes), made.path) for made in found.values()]
    value = [dict(zip(("toolchain", "state", "size", "path"), map(str, row), strict=True)) for row in rows]
    output.emit(value, as_json, output.table(("toolchain", "state", "size", "path"), rows, "None is declared."))


@app.command()
def make(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Install it on this machine, which takes minutes; one that is made already stays."""
    from farm.recipes import toolchains
    from farm.recipes.toolchains.environments import Environments

    settings = load()
    output.note(f"Installing {name} in {settings.toolchains_dir}.")
    environments = Environments(settings.toolchains_dir)
    made = environments.make(toolchains.find(name), limit_bytes=settings.toolchains_bytes)
    text = f"{name} is made: {output.size(made.size_bytes)} in {output.seconds(made.seconds)}, {made.path}."
    output.emit({"toolchain": name, "path": str(made.path), "seconds": made.seconds}, as_json, text)
    output.note("A farm or agent that runs here offers it after a restart.")


@app.command()
def remove(name: NameArgument, as_json: JsonFlag = False) -> None:
    """Remove its environments from this machine."""
    from farm.recipes.toolchains.environments import Environments

    count = Environments(load().toolchains_dir).remove(name)
    output.emit({"removed": count}, as_json, f"{count} environments of {name} are removed.")
