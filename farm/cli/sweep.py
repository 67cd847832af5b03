"""``farm sweep``: runs on a schedule."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.runs import INTERRUPTED, exit_code, follow
from farm.cli.session import connect
from farm.client import Client
from farm.errors import NotFoundError, UserError
from farm.sweeps import document
from farm.types import Night, Sweep, SweepPlan, SweepSpec

app = typer.Typer(help="Nightly sweeps: runs on a schedule (docs/sweeps.md).", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of the sweep.")]
LimitOption = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]
_POLL_SECONDS = 1.0
_LOOK_BACK = 500  # nights


@app.command()
def apply(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="YAML files with sweeps.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and change nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make sweeps, or change those that are there. Shows first what that comes to, and asks."""
    specs = _read(files)
    with connect(context) as client:
        plans = [client.plan_sweep(spec) for spec in specs]
        shown = Group(*(_plan(spec, plan) for spec, plan in zip(specs, plans, strict=True)))
        if dry_run:
            found = {"plans": _by_name(specs, plans), "applied": []}
            output.emit(found, as_json, shown)
            return
        if not as_json:
            output.console().print(shown)
        if not yes and any(plan.is_new or plan.changes for plan in plans):
            _ask()
        applied = [client.apply_sweep(spec) for spec in specs]
    names = ", ".join(sweep.spec.name for sweep in applied)
    output.emit({"plans": _by_name(specs, plans), "applied": applied}, as_json, f"Applied: {names}.")


@app.command("list")
def list_sweeps(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List sweeps."""
    with connect(context) as client:
        found = client.sweeps()
    columns = ("sweep", "model", "devices", "schedule", "next", "by")
    rows = (
        (
            sweep.spec.name,
            _source(sweep.spec),
            sweep.spec.devices,
            _schedule(sweep.spec),
            _next(sweep),
            sweep.created_by,
        )
        for sweep in found
    )
    output.emit(found, as_json, output.table(columns, rows, "No sweep yet. `farm sweep apply FILE` makes one."))


@app.command()
def show(context: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """A sweep as it was applied, and when its next night is due."""
    with connect(context) as client:
        sweep = client.sweep(name)
    pairs = [
        ("owner", sweep.created_by),
        ("applied", f"{sweep.changed_at:%Y-%m-%d %H:%M} UTC"),
        ("next night", _next(sweep)),
    ]
    output.emit(sweep, as_json, Group(output.facts(pairs), "", Text(document.dump(sweep.spec).rstrip())))


@app.command()
def run(
    context: typer.Context,
    name: NameArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the night's run to its end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Have a night now, be the sweep paused or not.

    With --wait the exit code is 0 if the run finished with at least one measurement.
    """
    with connect(context) as client:
        night = client.run_sweep(name)
        if not wait:
            output.emit(night, as_json, f"Night {night.id} of {name} is due. `farm sweep history {name}` follows it.")
            return
        night = _wait(client, night, quiet=as_json)
        if night.run_id is None:
            output.emit(night, as_json, f"Night {night.id} is {night.state}: {night.reason}")
            raise typer.Exit(1)
        if not as_json:
            output.note(f"Night {night.id} is run {night.run_id}.")
        handle = client.run(night.run_id)
        follow(handle, progress=not as_json)
        comparison = handle.compare()
    found = {"night": night, "run": handle.info, "comparison": comparison.to_dict()} if as_json else None
    output.emit(found, as_json, comparison)
    raise typer.Exit(exit_code(handle))


@app.command()
def pause(context: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """No more nights until it is resumed; what is under way goes on."""
    with connect(context) as client:
        sweep = client.pause_sweep(name)
    output.emit(sweep, as_json, f"{name} is paused. `farm sweep resume {name}` goes on.")


@app.command()
def resume(context: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Go on from now; nights that would have been due in the meantime are not missed."""
    with connect(context) as client:
        sweep = client.resume_sweep(name)
    output.emit(sweep, as_json, f"{name} goes on; next night: {_next(sweep)}.")


@app.command()
def remove(context: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Remove a sweep with its nights and regressions; its runs and the history of results stay."""
    with connect(context) as client:
        client.remove_sweep(name)
    output.emit({"removed": name}, as_json, f"{name} is removed.")


@app.command()
def history(context: typer.Context, name: NameArgument, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """What became of its nights, the newest first."""
    with connect(context) as client:
        found = client.nights(name, limit)
    columns = ("night", "due (UTC)", "by", "version", "run", "state", "took", "why")
    rows = (
        (
            night.id,
            f"{night.due_at:%Y-%m-%d %H:%M}",
            night.requested_by if night.trigger == "manual" else night.trigger,
            night.version[:12],
            night.run_id or "",
            output.state(night.state),
            _took(night),
            night.reason,
        )
        for night in found
    )
    empty = f"{name} had no night yet. `farm sweep run {name}` makes one."
    output.emit(found, as_json, output.table(columns, rows, empty))


@app.command()
def diff(
    context: typer.Context,
    name: NameArgument,
    nights: Annotated[
        list[int] | None,
        typer.Argument(help="Numbers of one night, against the one before it, or of two. Default: the last two."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="Metrics with commas between; default: the main ones.")] = None,
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Two nights side by side, per variant, device and scenario."""
    with connect(context) as client:
        before, now = _two(client.nights(name, _LOOK_BACK), nights or [], name)
        found = client.diff(before, now, include_virtual=include_virtual, metrics=metrics.split(",") if metrics else ())
    output.emit(found.to_dict() if as_json else None, as_json, found)


def _two(found: Sequence[Night], wanted: Sequence[int], name: str) -> tuple[int, int]:
    """The runs of two nights, the older one first unless both are named. ``found``: the newest first. Raises UserError,
    NotFoundError."""
    if len(wanted) > 2:
        raise UserError("More than two nights cannot be compared.", remedy="Name one or two.")
    with_run = {night.id: night.run_id for night in found if night.run_id is not None}
    if missing := [number for number in wanted if number not in with_run]:
        raise NotFoundError(
            f"{name} has no night {missing[0]} with a run.", remedy=f"`farm sweep history {name}` shows its nights."
        )
    chosen = list(wanted)
    if len(chosen) < 2:
        earlier = [number for number in with_run if not chosen or number <= chosen[0]]
        chosen = earlier[:2][::-1]
    if len(chosen) < 2:
        raise NotFoundError(
            f"{name} has no two nights with a run yet.", remedy=f"`farm sweep history {name}` shows its nights."
        )
    before, now = (with_run[number] for number in chosen)
    return before, now


def _read(files: Sequence[Path]) -> list[SweepSpec]:
    """Raises UserError, also for a name that two files have."""
    specs = [(path, spec) for path in files for spec in document.read(path)]
    where: dict[str, Path] = {}
    for path, spec in specs:
        if spec.name in where:
            raise UserError(
                f"{path} and {where[spec.name]} both have a sweep {spec.name!r}.", remedy="Give each its own name."
            )
        where[spec.name] = path
    return [spec for _, spec in specs]


def _ask() -> None:
    """Raises UserError where there is nobody to ask, typer.Exit where the answer is no."""
    if not sys.stdin.isatty():
        raise UserError(
            "Nothing was applied: there is nobody to ask.", remedy="Add --yes, or --dry-run to see the plan only."
        )
    if not typer.confirm("Apply?", err=True):
        output.note("Nothing was applied.")
        raise typer.Exit(1)


def _wait(client: Client, night: Night, *, quiet: bool) -> Night:
    """Until it has a run, or is over."""
    said = ""
    try:
        while night.run_id is None and not night.state.over:
            time.sleep(_POLL_SECONDS)
            night = next((each for each in client.nights(night.sweep) if each.id == night.id), night)
            if not quiet and (text := f"Night {night.id} is {night.state}. {night.reason}".rstrip()) != said:
                output.note(said := text)
    except KeyboardInterrupt:
        output.note(f"The night goes on: `farm sweep history {night.sweep}`.")
        raise typer.Exit(INTERRUPTED) from None
    return night


def _by_name(specs: Sequence[SweepSpec], plans: Sequence[SweepPlan]) -> dict[str, SweepPlan]:
    return {spec.name: plan for spec, plan in zip(specs, plans, strict=True)}


def _plan(spec: SweepSpec, plan: SweepPlan) -> RenderableType:
    what = "new" if plan.is_new else "changes" if plan.changes else "stays as it is"
    expected = None
    if plan.expected_seconds is not None:
        ends = plan.next_at[0] + timedelta(seconds=plan.expected_seconds) if plan.next_at else None
        expected = _duration(plan.expected_seconds) + (f", to {output.local_time(ends)}" if ends else "")
    builds = None
    if plan.builds_to_make is not None:
        seconds = f" ({_duration(plan.build_seconds)})" if plan.build_seconds is not None else ""
        builds = f"{plan.builds_to_make} to make{seconds}, {plan.builds_there} there"
    pairs: list[tuple[str, object]] = [
        ("jobs", f"{plan.jobs:,} on {len(plan.devices):,} devices" if plan.jobs is not None else None),
        ("builds", builds),
        ("device time", _duration(plan.device_seconds) if plan.device_seconds is not None else None),
        ("expected", expected),
        ("not known", plan.why_unknown),
        ("nights", ", ".join(map(output.local_time, plan.next_at)) or "only by `farm sweep run`"),
    ]
    parts: list[RenderableType] = [
        Text.assemble((spec.name, "bold"), f"  {what}"),
        *(Text(f"  {change}", style="yellow") for change in plan.changes),
        output.facts((f"  {name}", value) for name, value in pairs),
        *(Text(f"  warning: {warning}", style="yellow") for warning in plan.warnings),
        "",
    ]
    return Group(*parts)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return output.seconds(seconds)
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _took(night: Night) -> str:
    if night.started_at is None or night.ended_at is None:
        return ""
    return _duration((night.ended_at - night.started_at).total_seconds())


def _source(spec: SweepSpec) -> str:
    model = document.plain_model(spec)
    return model if isinstance(model, str) else " ".join(map(str, next(iter(model.items()))))


def _schedule(spec: SweepSpec) -> str:
    return f"{spec.schedule.cron} {spec.schedule.timezone}" if spec.schedule else "none"


def _next(sweep: Sweep) -> str:
    if sweep.paused:
        return "paused"
    return output.local_time(sweep.next_at) if sweep.next_at else "none"
