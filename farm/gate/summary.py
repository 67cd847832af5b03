"""What a gate says: Markdown for a pull request, and a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from farm.analysis import figures
from farm.analysis.figures import MISSING, plain
from farm.gate.decision import Exit, Finding, Gate, Judgement
from farm.report.difference import where
from farm.report.text import escaped, table

_ORDER = (Finding.WORSE, Finding.BROKEN, Finding.UNTOLD, Finding.UNTRUSTED, Finding.MISSING, Finding.WITHIN)
_STYLES = {Finding.WORSE: "bold red", Finding.BROKEN: "bold red", Finding.WITHIN: "green"}
_ALLOW = {Finding.UNTOLD: "--allow-untold", Finding.UNTRUSTED: "--allow-suspect", Finding.MISSING: "--allow-missing"}
_HEADING = ("variant", "device", "scenario", "metric", "baseline", "run", "change", "limit", "finding")


def headline(gate: Gate) -> str:
    """``Gate failed: 2 of 24 rows are worse than the limits allow.``"""
    rows = len(gate.judgements)
    match gate.exit:
        case Exit.PASS:
            accepted = sum(each.accepted for each in gate.judgements)
            proved = f"all {rows} rows" if not accepted else f"{rows - accepted} of {rows} rows"
            return f"Gate passed: {proved} are within the limits" + (
                f", {accepted} were accepted without proof." if accepted else "."
            )
        case Exit.REGRESSION:
            return f"Gate failed: {sum(each.fails for each in gate.judgements)} of {rows} rows are worse than allowed."
        case Exit.UNTOLD:
            left = sum(not each.passes for each in gate.judgements)
            return f"Gate cannot tell: nothing is proved worse; {left} of {rows} rows are not proved within the limits."


def remarks(gate: Gate) -> Iterator[str]:
    """What is to be known of the verdict: how it was reached, and what to do."""
    yield f"Limits: {', '.join(map(str, gate.limits))}."
    for limit in gate.idle:
        yield f"No row could be judged by {limit}: a limit that nothing meets passes nothing."
    yield from gate.difference.notes
    if gate.comparisons > 1:
        yield (
            f"Worse is proved with intervals that hold for all {gate.comparisons} comparisons at once; "
            "the intervals shown hold one by one."
        )
    given = gate.allowances.noise
    measured = {each.change.quantity.name for each in gate.judgements if each.interval and not each.change.exact}
    if without := sorted(measured - given.keys()):
        yield f"Intervals hold the scatter within a run; of {', '.join(without)} none between runs was given (--noise)."
    if given:
        yield f"Scatter between runs, as given: {', '.join(f'{name} {amount:g}' for name, amount in given.items())}."
    open_ = {each.finding for each in gate.judgements if not each.passes and not each.fails}
    for finding in _ORDER:
        if finding in open_:
            yield f"Rows {_phrase(finding)} let nothing pass; {_ALLOW[finding]} accepts them."


def _phrase(finding: Finding) -> str:
    return {
        Finding.UNTOLD: "whose interval holds the limit",
        Finding.UNTRUSTED: "without a trusted result on both sides",
        Finding.MISSING: "without a figure to judge",
    }[finding]


def markdown(gate: Gate) -> str:
    """Short first: the verdict, what keeps it from passing, and the rest folded."""
    difference = gate.difference
    lines = [f"### {headline(gate)}", "", escaped(difference.title) + "", ""]
    lines += [f"- {escaped(remark)}" for remark in remarks(gate)]
    ordered = _rows(gate)
    first = [each for each in ordered if not each[0].passes]
    rest = [each for each in ordered if each[0].passes]
    if first:
        lines += ["", *table(_HEADING, [_cells(each) for each in first])]
    if rest:
        count = sum(map(len, rest))
        noun = "row" if count == 1 else "rows"
        lines += ["", f"<details><summary>{count} {noun} within the limits or accepted</summary>", ""]
        lines += [*table(_HEADING, [_cells(each) for each in rest]), "", "</details>"]
    run, baseline = difference.now.id, difference.before.id
    lines += ["", f"`farm runs show {run}` · `farm runs diff {baseline} {run}`"]
    return "\n".join(lines) + "\n"


def blocks(gate: Gate) -> Iterator[RenderableType]:
    """For a terminal: the rows that do not pass, or all that do."""
    yield Text(plain(gate.difference.title), style="bold")
    for remark in remarks(gate):
        yield Text(plain(remark), style="dim")
    ordered = _rows(gate)
    if ordered:
        yield Text()
        yield _table([each for each in ordered if not each[0].passes] or ordered)
    yield Text(f"→ {headline(gate)}", style="bold green" if gate.exit is Exit.PASS else "bold red")


def _rows(gate: Gate) -> list[list[Judgement]]:
    """What keeps it from passing first. Where a variant has no figure at all for one reason, that is one row."""
    found: dict[object, list[Judgement]] = {}
    for each in sorted(gate.judgements, key=lambda each: _ORDER.index(each.finding)):
        of_pair = each.finding in (Finding.BROKEN, Finding.UNTRUSTED, Finding.MISSING)
        found.setdefault((each.change.pair.place, each.finding, each.why) if of_pair else id(each), []).append(each)
    return list(found.values())


def _table(rows: Sequence[Sequence[Judgement]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADING:
        grid.add_column(heading, justify="right" if heading in ("baseline", "run", "change", "limit") else "left")
    for same in rows:
        row = same[0]
        place = row.change.pair.place
        device = Text(place.device).append(" virtual", style="reverse") if place.virtual else Text(place.device)
        value, interval = _judged(row)
        grid.add_row(
            Text(place.variant, style="bold"),
            device,
            place.scenario,
            ", ".join(each.change.quantity.name for each in same),
            *_sides(same),
            Text(value).append(f"\n{interval}", style="dim") if interval else value,
            _limit(same),
            Text(_word(row), style=_STYLES.get(row.finding, "yellow"))
            .append(", accepted" * row.accepted)
            .append(f"\n{plain(row.why)}" if row.why else "", style="dim"),
        )
    return grid


def _cells(same: Sequence[Judgement]) -> tuple[str, ...]:
    row = same[0]
    value, interval = _judged(row)
    finding = f"**{_word(row)}**" if row.fails else _word(row)
    return (
        *where(row.change.pair),
        ", ".join(f"`{each.change.quantity.name}`" for each in same),
        *_sides(same),
        value + (f"<br>{interval}" if interval else ""),
        _limit(same),
        finding + ", accepted" * row.accepted + (f"<br>{escaped(row.why)}" if row.why else ""),
    )


def _word(row: Judgement) -> str:
    return "outside" if row.finding is Finding.WORSE and not row.limit.of_change else str(row.finding)


def _sides(same: Sequence[Judgement]) -> tuple[str, str]:
    if len(same) > 1:
        return MISSING, MISSING
    row = same[0]
    unit = row.change.quantity.unit
    both = (row.change.before, row.change.now)
    before, now = (figures.of_unit(each.value, unit) if each else MISSING for each in both)
    return before, now


def _judged(row: Judgement) -> tuple[str, str]:
    """The change with the interval that was judged; of an absolute limit the run's own interval."""
    found = row.interval
    if row.limit.of_change:
        return row.change.text, row.change.interval_of(found) if found else row.change.interval_text
    if found is None or found.low == found.high:
        return MISSING, ""
    low, high = (figures.of_unit(each, row.limit.quantity.unit) for each in (found.low, found.high))
    return MISSING, f"run: {low} to {high}"


def _limit(same: Sequence[Judgement]) -> str:
    if len(same) > 1:
        return MISSING
    row = same[0]
    sign = {"max-regression": "", "max-drop": "drop ", "max": "≤ ", "min": "≥ "}[row.limit.kind]
    return sign + row.limit.text
