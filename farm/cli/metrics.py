"""``farm metrics``: what Prometheus has of the results. Works on the head's database, so it must run where that is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import needs_extra
from farm.cli.tokens import StateDirOption, open_store
from farm.config import load
from farm.types import OutboxEntry

app = typer.Typer(help="What Prometheus has of the results.", no_args_is_help=True)

_SHOWN = 10
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

SinceOption = Annotated[
    datetime | None, typer.Option(help="UTC, e.g. 2026-11-20 or 2026-11-20T03:00:00; default: the first result.")
]
UntilOption = Annotated[datetime | None, typer.Option(help="UTC, not included; default: now.")]


@app.command()
def status(state_dir: StateDirOption = None, as_json: JsonFlag = False) -> None:
    """What waits, what was refused and why, and what the nightly comparison found."""
    url = load(state_dir=state_dir).remote_write_url
    with open_store(state_dir) as store, store.reading() as reading:
        counts = reading.outbox_counts()
        waiting, dead = reading.outbox_entries("pending", 1), reading.outbox_entries("dead", _SHOWN)
        days = reading.day_checks()
    found = {"remote_write_url": url, "outbox": counts, "oldest": waiting[:1], "dead": dead, "days": days}
    oldest = waiting[0] if waiting else None
    pairs: list[tuple[str, object]] = [
        ("pushed to", url or "nothing here says so: the head may have it by --with-prometheus or its environment"),
        ("waiting", counts["pending"]),
        ("the oldest since", f"{oldest.queued_at:%Y-%m-%d %H:%M:%S} UTC" if oldest else None),
        ("because", oldest.reason or None if oldest else None),
        ("pushed in 7 days", counts["done"]),
        ("refused", counts["dead"]),
    ]
    parts: list[RenderableType] = [output.facts(pairs)]
    if dead:
        parts.append(output.table(("what", "id", "of", "refused because"), map(_refused, dead), ""))
    if days:
        rows = [(day.day, day.expected, day.found, "" if day.found >= day.expected else "pushed again") for day in days]
        parts.append(output.table(("day", "results", "in Prometheus", ""), rows, ""))
    output.emit(found, as_json, Group(*parts))


@app.command()
def rebuild(
    since: SinceOption = None, until: UntilOption = None, state_dir: StateDirOption = None, as_json: JsonFlag = False
) -> None:
    """Have results pushed once more, also those that were refused: for a new Prometheus. What it has, it keeps."""
    with open_store(state_dir) as store, needs_extra("head"):
        from farm.metrics.reconciliation import republish

        now = datetime.now(UTC)
        count = republish(store, _utc(since) or _BEGINNING, _utc(until) or now, now)
    output.emit({"queued": count}, as_json, f"{count:,} results and runs are pushed again.")


@app.command()
def backfill(
    file: Annotated[Path, typer.Argument(help="OpenMetrics file to write.")],
    since: SinceOption = None,
    until: UntilOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write results to a file for promtool: for what is older than Prometheus takes when it is pushed."""
    with open_store(state_dir) as store, needs_extra("head"):
        from farm.metrics.backfill import write
        from farm.metrics.reconciliation import publications

        with store.reading() as reading:
            found = publications(reading, _utc(since) or _BEGINNING, _utc(until) or datetime.now(UTC))
            count = write(found, file)
    said = f"{count:,} samples in {file}. Next: promtool tsdb create-blocks-from openmetrics {file} DATA_FOLDER"
    output.emit({"file": str(file), "samples": count}, as_json, said)


def _utc(given: datetime | None) -> datetime | None:
    return given.replace(tzinfo=UTC) if given and given.tzinfo is None else given


def _refused(entry: OutboxEntry) -> tuple[object, ...]:
    return entry.kind, entry.subject, f"{entry.at:%Y-%m-%d %H:%M:%S} UTC", entry.reason
