"""``farm tools``: native tools that are registered on this machine, for the phones attached to it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.config import NativeTool, NativeToolFile, load
from farm.errors import FarmError, UserError

if TYPE_CHECKING:
    from agents.native_tools.registry import Registry

app = typer.Typer(help="Benchmark programs of other people's (docs/native-tools.md).", no_args_is_help=True)

ToolArgument = Annotated[str, typer.Argument(help="E.g. benchmark_model.")]
AbiOption = Annotated[str, typer.Option(help="Of the phones it is built for, e.g. arm64-v8a.")]


def _registry() -> Registry:
    from agents.native_tools.registry import Registry

    settings = load()
    return Registry(settings.state_dir, settings.agent_tools)


@app.command("list")
def list_tools(as_json: JsonFlag = False) -> None:
    """Those of farm.toml and those added here."""
    from agents.native_tools import TOOLS

    found = _registry().all()
    rows = [
        (tool.name, tool.abi, TOOLS[tool.name].runtime, ", ".join(sorted(tool.accelerators)), tool.binary.source)
        for tool in found
    ]
    columns = ("tool", "abi", "runtime", "accelerators", "binary")
    output.emit([tool.model_dump(mode="json") for tool in found], as_json, output.table(columns, rows, "None yet."))


@app.command()
def add(
    tool: ToolArgument,
    source: Annotated[str, typer.Argument(help="Path or http(s) URL of the binary.")],
    *,
    abi: AbiOption = "arm64-v8a",
    sha256: Annotated[str, typer.Option(help="Of the binary.")],
    accelerator: Annotated[
        list[str] | None,
        typer.Option(help="cpu, gpu or npu, or with the arguments that choose it: 'npu=--use_nnapi=true'. Repeatable."),
    ] = None,
    library: Annotated[
        list[str] | None, typer.Option(help="A shared object to go with it, as SHA256=PATH_OR_URL. Repeatable.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a tool's binary, check its hash, and register it for phones of an ABI."""
    try:
        made = NativeTool(
            name=tool,
            abi=abi,
            binary=NativeToolFile(source=_absolute(source), sha256=sha256.lower()),
            accelerators=dict(map(_accelerator, accelerator or ["cpu"])),
            libraries=tuple(map(_library, library or ())),
        )
    except ValueError as error:
        raise UserError(f"It cannot be registered: {error}.", remedy="`farm tools add --help`.") from error
    _registry().add(made)
    output.emit(made, as_json, f"{tool} is registered for {abi}. Agents on this machine offer it once restarted.")


@app.command()
def check(as_json: JsonFlag = False) -> None:
    """Fetch what is missing and verify all files. Exit code 1 where one is not usable."""
    registry, found = _registry(), list[dict[str, str]]()
    for tool in registry.all():
        for file in (tool.binary, *tool.libraries):
            state, why = "usable", ""
            try:
                registry.fetch(file)
            except FarmError as error:
                state, why = "broken", str(error)
            found.append({"tool": tool.name, "abi": tool.abi, "file": file.source, "state": state, "why": why})
    columns = ("tool", "abi", "file", "state", "why")
    rows: list[Sequence[object]] = [tuple(each.values()) for each in found]
    output.emit(found, as_json, output.table(columns, rows, "None is registered."))
    if any(each["state"] == "broken" for each in found):
        raise typer.Exit(1)


@app.command()
def remove(tool: ToolArgument, abi: AbiOption = "arm64-v8a", as_json: JsonFlag = False) -> None:
    """Forget a tool that was added here, and its files."""
    _registry().remove(tool, abi)
    output.emit({"removed": tool, "abi": abi}, as_json, f"{tool} for {abi} is no longer registered.")


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).expanduser().resolve())


def _accelerator(text: str) -> tuple[Literal["cpu", "gpu", "npu"], tuple[str, ...]]:
    name, _, arguments = text.partition("=")
    if name not in ("cpu", "gpu", "npu"):
        raise UserError(f"{name!r} is no accelerator.", remedy="It is cpu, gpu or npu.")
    return cast("Literal['cpu', 'gpu', 'npu']", name), tuple(shlex.split(arguments))


def _library(text: str) -> NativeToolFile:
    sha256, _, source = text.partition("=")
    return NativeToolFile(source=_absolute(source), sha256=sha256.lower())
