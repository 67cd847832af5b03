"""The comparison as a terminal table: as many columns as fit the width, the most important ones first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from farm.analysis import figures, insight
from farm.analysis.advice import caveats, headline, unreadable
from farm.analysis.comparison import Comparison
from farm.analysis.figures import MISSING, plain
from farm.analysis.overview import overviews
from farm.analysis.row import Recommendation, Row, Setting
from farm.types import VerdictLevel

STYLES = {VerdictLevel.TRUSTED: "green", VerdictLevel.SUSPECT: "yellow", VerdictLevel.INVALID: "red"}
_GAP = 2  # between columns

Cell = tuple[str, str]  # the figure, and below it its interval or second figure


@dataclass(frozen=True)
class Column:
    """``rank``: the higher, the sooner it gives way on a narrow terminal; 0 never does."""

    heading: Cell
    rank: int
    cell: Callable[[Row], Cell]
    left: bool = False

    def width(self, rows: Sequence[Row]) -> int:
        return max(len(line) for cell in (self.heading, *map(self.cell, rows)) for line in cell)


def blocks(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Renderables for a terminal of ``width`` columns: one block per setting, then what the marks mean."""
    if not comparison.rows:
        yield Text("No jobs to compare.")
        return
    all_columns = _columns(comparison)
    columns = _fitting(all_columns, comparison.rows, width)
    for recommendation in comparison.recommendations():
        rows = comparison.settings[recommendation.setting]
        yield Text()
        yield _title(recommendation.setting, rows)
        yield _table(columns, rows, comparison.rows, recommendation)
        yield from _notes(rows)
        yield _advice(recommendation, rows)
    for overview in overviews(comparison.rows):
        for means in overview.means:
            yield Text()
            yield means
    yield Text()
    yield from _footer(comparison, [column for column in all_columns if column not in columns])


def _columns(comparison: Comparison) -> list[Column]:
    recommended = {id(item.row): item for item in comparison.recommendations() if item.row}
    rivals = {id(rival): item for item in recommended.values() for rival in item.rivals}

    def variant(row: Row) -> Cell:
        if id(row) in recommended:
            mark = "fastest trusted" if row.level is VerdictLevel.TRUSTED else "fastest suspect"
        else:
            mark = "as fast" if id(row) in rivals else ""
        return row.recipe, ", ".join(filter(None, ("baseline" if row.is_baseline else "", mark)))

    levels = {row.outcome.result.confidence for row in comparison.rows if row.outcome.result}
    interval = f"{levels.pop():.0%} CI" if len(levels) == 1 else "CI"
    columns = [
        Column(("variant", ""), 0, variant, left=True),
        Column(("p50 ms", interval), 0, lambda row: _latency(row, "p50")),
        Column(("p95 ms", interval), 2, lambda row: _latency(row, "p95")),
        Column(("speed-up", interval), 1, _speedup),
        *([Column(("samples/s", ""), 0, _throughput)] if any(row.batch > 1 for row in comparison.rows) else []),
        Column(("load", "1st run"), 6, _load),
        Column(("memory", "peak"), 5, _memory),
        Column(("artifact", "size"), 3, _size),
        Column(("cosine", "max err"), 4, _parity),
        Column(("verdict", ""), 0, _verdict, left=True),
    ]
    if names := {row.evaluation.score for row in comparison.rows if row.evaluation}:
        score = names.pop() if len(names) == 1 else "score"
        columns[-2:-2] = [
            Column((score, "PyTorch's"), 1, _score),
            Column(("drop", interval), 1, _drop),
        ]
    optional = (
        Column(("FLOPs", "params"), 7, _program),
        Column(("delegated", ""), 8, _delegated),
        Column(("loaded", "growth"), 9, _loaded),
        Column(("energy", interval), 2, _energy),
        Column(("power", "idle"), 7, _power),
        Column(("hottest", "start"), 8, _temperature),
    )
    columns[-1:-1] = [
        column for column in optional if any(column.cell(row) != (MISSING, "") for row in comparison.rows)
    ]
    if any(row.among_runs for row in comparison.rows):
        columns.insert(0, Column(("run", ""), 0, lambda row: (str(row.run_id), "")))
    return columns


def _latency(row: Row, quantile: str) -> Cell:
    estimate = row.latency(quantile)
    if (printed := row.printed(quantile)) is not None:
        return figures.milliseconds(printed), "the tool's"
    return (
        (figures.milliseconds(estimate.value), figures.milliseconds_interval(estimate)) if estimate else (MISSING, "")
    )


def _speedup(row: Row) -> Cell:
    if row.speedup is None:
        return MISSING, ""
    return figures.times(row.speedup.value), "" if row.is_baseline else figures.times_interval(row.speedup)


def _throughput(row: Row) -> Cell:
    result = row.outcome.result
    return (f"{result.samples_per_second:,.1f}" if result and result.samples_per_second else MISSING), ""


def _load(row: Row) -> Cell:
    result = row.outcome.result
    return (
        (figures.duration(result.load_seconds), figures.duration(result.first_inference_seconds))
        if result
        else (MISSING, "")
    )


def _memory(row: Row) -> Cell:
    peak = row.outcome.result.memory_peak_bytes if row.outcome.result else None
    return (figures.size(peak) if peak is not None else MISSING), ""


def _size(row: Row) -> Cell:
    return (figures.size(row.artifact_bytes) if row.artifact_bytes is not None else MISSING), ""


def _parity(row: Row) -> Cell:
    parity = row.outcome.result.parity if row.outcome.result else None
    return (figures.cosine(parity.cosine), f"{parity.max_abs_error:.1e}") if parity else (MISSING, "")


def _score(row: Row) -> Cell:
    found = row.evaluation
    if found is None:
        return MISSING, ""
    return figures.score(found.metrics[found.score]), figures.score(found.reference_metrics[found.score])


def _drop(row: Row) -> Cell:
    drop = row.evaluation.drop if row.evaluation else None
    return (figures.change(drop.value), figures.change_interval(drop)) if drop else (MISSING, "")


def _program(row: Row) -> Cell:
    report = row.outcome.artifact.report if row.outcome.artifact else None
    if report is None or (report.flops is None and report.parameters is None):
        return MISSING, ""
    flops, parameters = (
        MISSING if count is None else figures.count(count) for count in (report.flops, report.parameters)
    )
    return flops, parameters


def _delegated(row: Row) -> Cell:
    delegation = row.outcome.artifact.report.delegation if row.outcome.artifact else None
    ratio = insight.delegated_ratio(delegation) if delegation else None
    return (MISSING if ratio is None else f"{ratio:.0%}"), ""


def _loaded(row: Row) -> Cell:
    """What the loaded model takes, and the growth of memory per 1,000 inferences."""
    result = row.outcome.result
    course, growth = (result.memory_course, result.memory_growth_bytes) if result else (None, None)
    if course is None and growth is None:
        return MISSING, ""
    loaded = figures.size(course.loaded_bytes) if course else MISSING
    return loaded, f"{figures.size(growth.value)}/1000" if growth else MISSING


def _energy(row: Row) -> Cell:
    found = row.outcome.result.energy_joules if row.outcome.result else None
    return (figures.energy(found.value), figures.energy_interval(found)) if found else (MISSING, "")


def _power(row: Row) -> Cell:
    result = row.outcome.result
    if result is None or result.power_watts is None:
        return MISSING, ""
    idle = result.idle_power_watts
    return figures.power(result.power_watts.value), MISSING if idle is None else figures.power(idle)


def _temperature(row: Row) -> Cell:
    told = row.outcome.result.telemetry if row.outcome.result else None
    if told is None or told.temperature_max_celsius is None:
        return MISSING, ""
    start = told.temperature_start_celsius
    return figures.temperature(told.temperature_max_celsius), MISSING if start is None else figures.temperature(start)


def _verdict(row: Row) -> Cell:
    failure = row.outcome.job.failure
    return row.status, failure.fault if row.failure and failure else ""


def _fitting(columns: Sequence[Column], rows: Sequence[Row], width: int) -> list[Column]:
    used, kept = -_GAP, set()
    for column in sorted(columns, key=lambda column: column.rank):
        used += column.width(rows) + _GAP
        if column.rank == 0 or used <= width:
            kept.add(id(column))
    return [column for column in columns if id(column) in kept]


def _title(setting: Setting, rows: Sequence[Row]) -> Text:
    facts = rows[0].outcome.device.facts
    title = Text(plain(setting.device), style="bold")
    if setting.virtual:
        title.append(" virtual ", style="reverse")
    title.append(f"  {plain(facts.device_model)}", style="not bold")
    if facts.hypervisor:
        title.append(f" ({plain(facts.hypervisor)} VM)", style="not bold")
    return title.append(f"  {setting.scenario}", style="bold")


def _table(columns: Sequence[Column], rows: Sequence[Row], all_rows: Sequence[Row], advice: Recommendation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column in columns:
        heading = Text("\n".join(column.heading).rstrip())
        table.add_column(
            heading,
            justify="left" if column.left else "right",
            width=column.width(all_rows),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_text(column, row, advice) for column in columns))
    return table


def _text(column: Column, row: Row, advice: Recommendation) -> Text:
    value, below = column.cell(row)
    style = "dim" if row.level in (None, VerdictLevel.INVALID) else ""
    if column.heading[0] == "verdict":
        style = STYLES[row.level] if row.level else "red" if row.failure else "cyan"
    elif column.heading[0] == "variant" and row is advice.row:
        style = "bold"
    text = Text(plain(value), style=style)
    return text.append(f"\n{plain(below)}", style="dim") if below else text


def _notes(rows: Sequence[Row]) -> Iterator[RenderableType]:
    for row in rows:
        texts = [f"{reason.code}: {reason.text}" for reason in row.reasons]
        if row.failure:
            texts.append(f"{row.status}: {row.failure}")
        for text in texts:
            note = Text(plain(row.label), style="bold").append(f"  {plain(text)}", style="not bold")
            yield Padding(note, (0, 0, 0, 2))
    if meters := unreadable(rows):
        yield Padding(Text(plain(meters), style="dim"), (0, 0, 0, 2))


def _advice(recommendation: Recommendation, rows: Sequence[Row]) -> RenderableType:
    trusted = recommendation.row is not None and recommendation.row.level is VerdictLevel.TRUSTED
    said = Text(f"→ {plain(headline(recommendation))}", style="bold green" if trusted else "bold yellow")
    return Group(said, *(Padding(Text(plain(text)), (0, 0, 0, 2)) for text in caveats(recommendation, rows)))


def _footer(comparison: Comparison, hidden: Sequence[Column]) -> Iterator[RenderableType]:
    lines = []
    if any(row.outcome.result and row.latency(name) is None for row in comparison.rows for name in ("p50", "p95")):
        lines.append(f"{MISSING}: not measured, or too few independent samples for an interval; the report says which.")
    if hidden:
        names = ", ".join("/".join(filter(None, column.heading)) for column in hidden)
        lines.append(f"Hidden at this width: {names}.")
    if comparison.left_out:
        lines.append(f"Left out: {comparison.left_out} jobs on virtual devices.")
    if lines:
        yield Group(*(Text(line, style="dim") for line in lines))
