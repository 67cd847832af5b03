"""``farm regressions``: what nights found to be worse, and how that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.analysis import regressed
from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.types import Bisection, Evidence, Regression, RegressionState

app = typer.Typer(help="What nights of sweeps found to be worse (docs/regressions.md).", no_args_is_help=True)

IdArgument = Annotated[int, typer.Argument(help="Number of the regression.")]
_STYLES = {
    RegressionState.CONFIRMED: "red",
    RegressionState.SUSPECTED: "yellow",
    RegressionState.CONFIRMING: "cyan",
    RegressionState.UNCONFIRMED: "yellow",
    RegressionState.ENDED: "green",
}
_LISTED = 12  # devices on one line


@app.command("list")
def list_regressions(
    context: typer.Context,
    sweep: Annotated[str | None, typer.Option(help="Only of this sweep.")] = None,
    state: Annotated[RegressionState | None, typer.Option(help="Only in this state.")] = None,
    device: Annotated[str | None, typer.Option(help="Only where this device shows it most.")] = None,
    variant: Annotated[str | None, typer.Option(help="Only where this variant shows it most.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List regressions, the newest first."""
    with connect(context) as client:
        found = client.regressions(sweep, state=state, device=device, variant=variant, limit=limit)
    columns = ("id", "state", "sweep", "night", "what", "since")
    output.emit(found, as_json, output.table(columns, map(_row, found), "No regression. Long may it stay so."))


@app.command()
def show(context: typer.Context, id: IdArgument, as_json: JsonFlag = False) -> None:
    """What, where, how much, since when, and how that is known."""
    with connect(context) as client:
        found = client.regression(id)
    output.emit(found, as_json, _details(found))


@app.command()
def page(
    context: typer.Context,
    id: IdArgument,
    to: Annotated[Path | None, typer.Option("--output", "-o", help="Default: regression-ID.html here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write its page: one HTML file that needs no network."""
    path = to or Path(f"regression-{id}.html")
    with connect(context) as client:
        path.write_text(client.regression_page(id), encoding="utf-8")
    output.emit({"path": path.resolve()}, as_json, str(path))


@app.command()
def close(
    context: typer.Context,
    id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why it is not to be followed any longer.")],
    as_json: JsonFlag = False,
) -> None:
    """Follow it no longer; it stays on record with the reason."""
    with connect(context) as client:
        closed = client.close_regression(id, reason)
    output.emit(closed, as_json, f"Regression {id} is closed.")


@app.command()
def search(context: typer.Context, id: IdArgument, as_json: JsonFlag = False) -> None:
    """Search once more for the version it came with, where a search ended without one; what it measured is kept."""
    with connect(context) as client:
        found = client.search_regression(id)
    output.emit(found, as_json, f"Regression {id} is searched for again: farm regressions show {id}")


def _row(found: Regression) -> tuple[object, ...]:
    since = f"{found.since:%Y-%m-%d}" if found.since else ""
    return found.id, _state(found), found.key.sweep, found.night_id, regressed.headline(found), since


def _state(found: Regression) -> Text:
    return Text(found.state, style=_STYLES.get(found.state, ""))


def _details(found: Regression) -> RenderableType:
    key, worst = found.key, found.worst
    pairs: list[tuple[str, object]] = [
        ("what", regressed.headline(found)),
        ("state", _state(found)),
        ("reason", found.reason),
        ("sweep", f"{key.sweep}, night {found.night_id}, last seen in night {found.seen_night_id}"),
        ("scenario", key.scenario),
        ("night's figures", _figures(found)),
        ("of its own", _own(found)),
        ("baseline", found.baseline),
        ("noise", _noise(found)),
        ("since", f"{found.since:%Y-%m-%d %H:%M} UTC" if found.since else None),
        ("good version", worst.old.version if worst.old else None),
        ("bad version", worst.new.version if worst.new else None),
        ("shown by", _listed(found.affected)),
        ("not shown by", _listed(found.unaffected)),
        ("ended", f"night {found.ended_night_id}" if found.ended_night_id else None),
        ("bisection", _bisection(found.bisection)),
    ]
    parts: list[RenderableType] = [output.facts(pairs)]
    if found.evidence:
        columns = ("measured once more", "device", "pairs", "before", "now", "change", "interval", "says")
        parts += ["", output.table(columns, map(_evidence, found.evidence), "")]
    parts += ["", Text(f"farm regressions page {found.id} writes the page with its history.", style="dim")]
    return Group(*parts)


def _noise(found: Regression) -> str | None:
    ratio = found.worst.noise_ratio
    return f"{regressed.noise(ratio, found.key.metric)} between measurements of one artifact" if ratio else None


def _figures(found: Regression) -> str | None:
    worst, metric = found.worst, found.key.metric
    if worst.before is None or worst.now is None or worst.change is None:
        return None
    figures = f"{regressed.figure(worst.before.value, metric)} → {regressed.figure(worst.now.value, metric)}"
    interval = regressed.change_interval(worst.change, metric)
    return f"{figures} on {found.key.device}, {regressed.change(worst.change, metric)} ({interval})"


def _own(found: Regression) -> str | None:
    worst, metric = found.worst, found.key.metric
    if worst.own_change is None or not regressed.shared(worst):
        return None
    own = f"{regressed.change(worst.own_change, metric)} ({regressed.change_interval(worst.own_change, metric)})"
    return f"{own} without what all variants of {found.key.device} did alike that night"


def _evidence(one: Evidence) -> tuple[object, ...]:
    metric = one.key.metric
    start = (f"{metric} of {one.key.variant}", one.key.device, len(one.pairs))
    if one.before is None or one.now is None or one.change is None:
        return (*start, "–", "–", "–", "–", one.reason)
    return (
        *start,
        regressed.figure(one.before.value, metric),
        regressed.figure(one.now.value, metric),
        regressed.change(one.change, metric),
        regressed.change_interval(one.change, metric),
        Text(one.outcome, style=_STYLES.get(one.outcome, "")),
    )


def _bisection(bisection: Bisection | None) -> str | None:
    if bisection is None:
        return None
    if bisection.culprit:
        return f"first bad version: {bisection.culprit}"
    return bisection.reason or f"{len(bisection.steps)} steps so far, {bisection.trying or 'the next one'} is tried"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
