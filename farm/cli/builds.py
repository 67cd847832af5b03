"""``farm builds``: artifacts, and how they came to be."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.types import Build

app = typer.Typer(help="Builds: what recipes made of models, and how.", invoke_without_command=True)

KEY_LENGTH = 12
_FOLLOW_SECONDS = 1.0

KeyArgument = Annotated[str, typer.Argument(help="Key of the build, or the beginning of one.")]
RunOption = Annotated[int | None, typer.Option(help="Only of this run.")]
LimitOption = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]


@app.callback()
def builds(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Builds; without a command, the newest."""
    if context.invoked_subcommand is None:
        _list(context, None, 20, as_json)


@app.command("list")
def list_builds(
    context: typer.Context, run: RunOption = None, limit: LimitOption = 20, as_json: JsonFlag = False
) -> None:
    """List builds, the newest first."""
    _list(context, run, limit, as_json)


@app.command()
def show(context: typer.Context, key: KeyArgument, as_json: JsonFlag = False) -> None:
    """One build: its state, what it took, and step by step how the artifact came to be."""
    with connect(context) as client:
        found = client.build(key)
    output.emit(found, as_json, _details(found))


@app.command()
def log(
    context: typer.Context,
    key: KeyArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the build has ended.")] = False,
) -> None:
    """What a build says, also while it runs."""
    with connect(context) as client:
        part = client.build_log(key)
        while True:
            typer.echo(part.text, nl=False)
            before, complete = part.next_offset, part.complete
            if complete or (not part.text and not follow):
                break
            if not part.text:
                time.sleep(_FOLLOW_SECONDS)
            part = client.build_log(key, before)
    if not complete:
        output.note("The build goes on: --follow waits for its end.")


def _list(context: typer.Context, run: int | None, limit: int, as_json: bool) -> None:
    with connect(context) as client:
        found = client.builds(run, limit)
    columns = ("build", "state", "recipe", "took", "memory", "size", "why")
    output.emit(found, as_json, output.table(columns, map(_row, found), "No build yet. `farm submit` makes some."))


def _row(build: Build) -> tuple[object, ...]:
    artifact, report = build.artifact, build.artifact.report if build.artifact else None
    return (
        build.key[:KEY_LENGTH],
        output.state(build.state),
        build.recipe.name,
        output.seconds(report.seconds if report else None),
        output.size(report.peak_rss_bytes if report else None),
        output.size(artifact.size_bytes if artifact else None),
        Text(build.failure.message if build.failure else ""),
    )


def _details(build: Build) -> RenderableType:
    report = build.artifact.report if build.artifact else None
    pairs: list[tuple[str, object]] = [
        ("build", build.key),
        ("state", output.state(build.state)),
        ("recipe", f"{build.recipe.name} ({build.recipe.runtime})"),
        ("model", build.model_id[:KEY_LENGTH]),
        ("tries", build.attempts),
        ("failure", str(build.failure) if build.failure else None),
    ]
    if build.artifact and report:
        pairs += [
            ("took", output.seconds(report.seconds)),
            ("peak memory", output.size(report.peak_rss_bytes)),
            ("files", "\n".join(f"{file.name}  {output.size(file.size_bytes)}" for file in build.artifact.files)),
            ("parameters", f"{report.parameters:,}" if report.parameters is not None else None),
            ("flops", f"{report.flops:,}" if report.flops is not None else None),
            ("network", "none" if report.network_isolated else "not isolated: the kernel refused"),
            ("tools", "\n".join(f"{name} {version}" for name, version in report.tool_versions.items())),
        ]
    parts: list[RenderableType] = [output.facts(pairs)]
    if report:
        steps = ((step.label, output.seconds(step.seconds), "\n".join(step.notes)) for step in report.lineage)
        parts += ["", output.table(("step", "took", "notes"), steps, "No step was recorded.")]
    if build.failure and build.failure.log_tail:
        parts += ["", Text(build.failure.log_tail.rstrip(), style="dim")]
    return Group(*parts)
