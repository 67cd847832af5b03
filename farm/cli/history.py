"""``farm history``: one variant on one device over time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.analysis import figures
from farm.analysis.history import History, Step
from farm.analysis.quantities import Quantity, quantity
from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.types import MissingNight

_BARS = "▁▂▃▄▅▆▇█"
_GAP = "×"
_COLUMNS = ("at (UTC)", "night", "run", "job", "artifact", "value", "interval", "change", "verdict", "why")


def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    variant: Annotated[str, typer.Argument(help="Name of the recipe.")],
    device: Annotated[str, typer.Argument(help="Id of the device.")],
    scenario: Annotated[str | None, typer.Option(help="Only this one, e.g. single-stream/2t.")] = None,
    metric: Annotated[str, typer.Option(help="What is shown.")] = "latency_p50",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only from this day on (UTC).", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many results, the newest.")] = 60,
    as_json: JsonFlag = False,
) -> None:
    """How a variant of a model did on a device over time, also in runs that are deleted; nights without a result are
    shown as missing."""
    chosen = quantity(metric)
    begin = since.replace(tzinfo=UTC) if since else None
    with connect(context) as client:
        found = client.history(model, variant, device, scenario=scenario, since=begin, limit=limit)
    document = {"metric": metric, "unit": chosen.unit, "points": found.points, "missing": found.missing}
    output.emit(document, as_json, _shown(found, chosen))


def _shown(found: History, chosen: Quantity) -> RenderableType:
    if not found.points and not found.missing:
        return Text("No result in that time or scenario.", style="dim")
    virtual = any(point.virtual for point in found.points)
    title = f"{chosen.name} of {found.variant} of {found.model} on {found.device}"
    parts: list[RenderableType] = [Text(title + (" (virtual: simulated, no real device)" if virtual else ""))]
    by_scenario = found.steps(chosen.name)
    if not by_scenario:
        known = ", ".join(found.metrics()) or "nothing"
        parts.append(Text(f"None of these results has it; they have {known}.", style="dim"))
    for scenario, steps in by_scenario.items():
        rows = [(step.point.measured_at, _row(step, chosen)) for step in steps]
        rows += [(night.due_at, _gap(night)) for night in found.missing]
        in_order = [row for _, row in sorted(rows, key=lambda row: row[0])]
        parts += ["", Text(f"{scenario}  {_sparkline(steps, found.missing)}")]
        parts.append(output.table(_COLUMNS, in_order, ""))
    return Group(*parts)


def _row(step: Step, chosen: Quantity) -> tuple[object, ...]:
    point, figure = step.point, step.figure
    exact = figure.low == figure.value == figure.high
    return (
        f"{point.measured_at:%Y-%m-%d %H:%M}",
        point.night_id or "",
        point.run_id,
        point.job_id,
        point.build_key[:8],
        _worded(figure.value, chosen),
        "" if exact else f"{_worded(figure.low, chosen)} to {_worded(figure.high, chosen)}",
        _changed(step, chosen),
        output.state(point.verdict),
        ", ".join(point.reasons),
    )


def _gap(night: MissingNight) -> tuple[object, ...]:
    at = f"{night.due_at:%Y-%m-%d %H:%M}"
    return at, night.night_id, night.run_id or "", "", "", output.state("missing"), "", "", "", night.reason


def _changed(step: Step, chosen: Quantity) -> str:
    if step.change is None:
        return ""
    text = f"{step.change * 100:+.2f} points" if chosen.score else f"{(step.change - 1) * 100:+.1f} %"
    return f"{text} (same artifact)" if step.same_artifact else text


def _worded(value: float, chosen: Quantity) -> str:
    match chosen.unit:
        case "seconds":
            return f"{figures.milliseconds(value)} ms"
        case "bytes":
            return figures.size(value)
        case "joules":
            return f"{figures.number(value * 1000)} mJ"
        case "watts":
            return f"{figures.number(value)} W"
        case "per second":
            return f"{figures.number(value)} /s"
        case "ratio":
            return figures.number(value, digits=4)


def _sparkline(steps: list[Step], missing: tuple[MissingNight, ...]) -> str:
    """Between the smallest and the largest value, one column per result and missing night."""
    values = [step.figure.value for step in steps]
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    marks = [(step.point.measured_at, _BARS[round((step.figure.value - low) * scale)]) for step in steps]
    marks += [(night.due_at, _GAP) for night in missing]
    return "".join(mark for _, mark in sorted(marks))
