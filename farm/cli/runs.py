"""``farm runs``: what was submitted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.profile import profile
from farm.cli.session import connect
from farm.runs import RunHandle
from farm.types import Job, JobOutcome, JobState, JobWait, Run, RunState

app = typer.Typer(help="Submitted runs.", invoke_without_command=True)

INTERRUPTED = 130  # as a shell reports SIGINT
_SOON_SECONDS = 100.0  # a time of day would not say much

LimitOption = Annotated[int, typer.Option(min=1, max=500, help="At most so many.")]
RunArgument = Annotated[int, typer.Argument(help="Number of the run.")]


app.command()(profile)


@app.callback()
def runs(context: typer.Context, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """Submitted runs; without a command, the newest."""
    if context.invoked_subcommand is None:
        _list(context, limit, as_json)


@app.command("list")
def list_runs(context: typer.Context, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List runs, the newest first."""
    _list(context, limit, as_json)


@app.command()
def show(context: typer.Context, run: RunArgument, as_json: JsonFlag = False) -> None:
    """A run, its jobs, and why those failed that did."""
    with connect(context) as client:
        handle = client.run(run)
        outcomes = handle.outcomes()
    output.emit({"run": handle.info, "outcomes": outcomes}, as_json, _details(handle.info, outcomes))


@app.command()
def diff(
    context: typer.Context,
    before: Annotated[int, typer.Argument(help="Number of the run to compare with.")],
    now: Annotated[int, typer.Argument(help="Number of the run that may differ.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Only this metric, e.g. latency_p99; may be given more than once.")
    ] = None,
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones; they are always marked.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What changed from one run to another, with intervals."""
    with connect(context) as client:
        found = client.diff(before, now, include_virtual=include_virtual, metrics=metric or ())
    output.emit(found.to_dict() if as_json else None, as_json, found)


@app.command()
def why(context: typer.Context, run: RunArgument, as_json: JsonFlag = False) -> None:
    """Why jobs of a run wait, and about when they start."""
    with connect(context) as client:
        handle = client.run(run)
        waits = handle.waits()
        jobs = {outcome.job.id: outcome.job for outcome in handle.outcomes()}
    columns = ("job", "recipe", "device", "why", "starts about")
    empty = f"No job of run {run} waits; the run is {handle.state}."
    output.emit(waits, as_json, output.table(columns, (_wait_row(wait, jobs) for wait in waits), empty))
    if waits and not any(wait.live for wait in waits):
        output.note("The coordinator does not answer: this is what it wrote down last.")
    if len(waits) < (waiting := _waiting(handle.info)):
        output.note(f"These are the first {len(waits)} of {waiting} jobs that wait.")


@app.command()
def watch(context: typer.Context, run: RunArgument, as_json: JsonFlag = False) -> None:
    """Follow a run to its end; Ctrl-C leaves it running. --json prints one event per line."""
    with connect(context) as client:
        handle = client.run(run)
        if as_json:
            for event in handle.events():
                output.emit_line(event)
            handle.refresh()
        else:
            follow(handle)
    raise typer.Exit(exit_code(handle))


@app.command()
def cancel(context: typer.Context, run: RunArgument, as_json: JsonFlag = False) -> None:
    """Stop what runs and drop the rest; results that are in stay."""
    with connect(context) as client:
        handle = client.run(run).cancel()
    output.emit(handle.info, as_json, f"Run {run} is being cancelled.")


@app.command()
def delete(context: typer.Context, run: RunArgument, as_json: JsonFlag = False) -> None:
    """Delete a run that is over, with its results, for good."""
    with connect(context) as client:
        handle = client.run(run)
        handle.delete()
    output.emit(handle.info, as_json, f"Run {run} is deleted.")


def follow(handle: RunHandle, progress: bool = True) -> None:
    """Wait for the run; on Ctrl-C say that it goes on."""
    try:
        handle.wait(progress=progress)
    except KeyboardInterrupt:
        output.note(f"Run {handle.id} goes on: `farm runs watch {handle.id}`, or `farm runs cancel {handle.id}`.")
        raise typer.Exit(INTERRUPTED) from None


def exit_code(handle: RunHandle) -> int:
    """0 if the run finished with at least one measurement, else 1."""
    return 0 if handle.state is RunState.FINISHED and handle.jobs.get(JobState.FINISHED) else 1


def _list(context: typer.Context, limit: int, as_json: bool) -> None:
    with connect(context) as client:
        found = client.runs(limit)
    rows = (
        (
            run.id,
            output.state(run.state),
            run.model_name,
            _jobs(run),
            run.spec.name,
            run.created_by,
            f"{run.created_at:%Y-%m-%d %H:%M}",
        )
        for run in found
    )
    columns = ("run", "state", "model", "jobs", "name", "by", "at (UTC)")
    output.emit(found, as_json, output.table(columns, rows, "No run yet. `farm submit MODEL …` makes one."))


def _details(run: Run, outcomes: list[JobOutcome]) -> RenderableType:
    pairs: list[tuple[str, object]] = [
        ("run", run.id),
        ("name", run.spec.name),
        ("state", output.state(run.state)),
        ("model", f"{run.model_name} ({run.model_id[:12]})"),
        ("devices", run.spec.devices),
        ("jobs", _jobs(run)),
        ("created", f"{run.created_at:%Y-%m-%d %H:%M} by {run.created_by}"),
        ("finished", f"{run.finished_at:%Y-%m-%d %H:%M}" if run.finished_at else None),
    ]
    columns = ("job", "recipe", "device", "scenario", "state", "p50", "verdict", "why")
    parts: list[RenderableType] = [
        output.facts(pairs),
        "",
        output.table(columns, map(_row, outcomes), "This run has no job."),
    ]
    if waiting := _waiting(run):
        parts += ["", Text(f"{waiting} of its jobs wait: `farm runs why {run.id}` says why.")]
    return Group(*parts)


def _wait_row(wait: JobWait, jobs: Mapping[int, Job]) -> tuple[object, ...]:
    job = jobs[wait.job_id]
    return job.id, job.recipe.name, job.device_id, wait.text, _start(wait)


def _start(wait: JobWait) -> str:
    if wait.starts_in_seconds is None:
        return "–"
    if wait.starts_in_seconds < _SOON_SECONDS:
        return f"in {wait.starts_in_seconds:.0f} s"
    return output.local_time(datetime.now(UTC) + timedelta(seconds=wait.starts_in_seconds))


def _row(outcome: JobOutcome) -> tuple[object, ...]:
    job, result = outcome.job, outcome.result
    median = result.latency_seconds.get("p50") if result else None
    p50 = output.seconds(median.value if median else None) if result else ""
    verdict = output.state(result.verdict.level) if result else ""
    why = "; ".join(reason.text for reason in result.verdict.reasons) if result else str(job.failure or job.reason)
    return job.id, job.recipe.name, job.device_id, job.scenario, output.state(job.state), p50, verdict, Text(why)


def _waiting(run: Run) -> int:
    return sum(run.jobs.get(state, 0) for state in (JobState.WAITING, JobState.QUEUED, JobState.LEASED))


def _jobs(run: Run) -> str:
    return ", ".join(f"{count} {state}" for state, count in run.jobs.items() if count)
