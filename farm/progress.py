"""The live view of a run on stderr: a line per build, a bar for the jobs, what runs now and what failed last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from farm.types import BuildState, Event, JobOutcome, JobState, Run, RunState

SHOWN_BUILDS = 12
SHOWN_JOBS = 4
SHOWN_FAILURES = 3

_ACTIVE_JOB = (JobState.LEASED, JobState.RUNNING)
_STYLES: dict[str, str] = {
    BuildState.BUILT: "green",
    BuildState.BUILDING: "cyan",
    BuildState.FAILED: "red",
    JobState.FINISHED: "green",
    JobState.RUNNING: "cyan",
    JobState.CANCELLED: "yellow",
}


class Progress:
    """What the events of a run add up to. Seeing an event twice, or one that is older, changes nothing."""

    def __init__(self, run: Run, outcomes: Sequence[JobOutcome]) -> None:
        self.run = run
        self.builds: dict[str, tuple[str, str]] = {recipe.name: (BuildState.PENDING, "") for recipe in run.spec.recipes}
        self.jobs: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.failures: dict[str, str] = {}
        self._seq = 0
        for outcome in outcomes:
            job = outcome.job
            self.jobs[str(job.id)] = job.state
            self.labels[str(job.id)] = f"{job.recipe.name} on {job.device_id}, {job.scenario}"
            if outcome.artifact is not None:
                self.builds[job.recipe.name] = (BuildState.BUILT, "")

    def apply(self, event: Event) -> None:
        if event.seq <= self._seq:
            return
        self._seq = event.seq
        if event.kind == "build":
            self.builds[event.subject] = (event.state, event.text)
        elif event.kind == "job" and not _is_terminal(self.jobs.get(event.subject)):
            self.jobs[event.subject] = event.state
        if event.kind != "run" and event.state == JobState.FAILED:
            self.failures[f"{event.kind} {event.subject}"] = f"{self.name_of(event)}: {event.text}"

    def name_of(self, event: Event) -> str:
        if event.kind == "job":
            return self.labels.get(event.subject, f"job {event.subject}")
        return f"run {self.run.id}" if event.kind == "run" else event.subject

    @property
    def done(self) -> int:
        return sum(map(_is_terminal, list(self.jobs.values())))

    def summary(self) -> str:
        # At the end the run itself knows best.
        counts = Counter[str](list(self.jobs.values()) if self.run.state is RunState.ACTIVE else self.run.jobs)
        parts = [f"run {self.run.id} {self.run.state}: {counts[JobState.FINISHED]} of {counts.total()} jobs measured"]
        parts += [f"{counts[state]} {state}" for state in (JobState.FAILED, JobState.CANCELLED) if counts[state]]
        return ", ".join(parts)


class View(Protocol):
    def show(self, event: Event) -> None: ...
    def notify(self, text: str) -> None: ...
    def finish(self, run: Run) -> None: ...


class PlainView:
    """A line per event, for logs and pipes."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console, self._started = progress, console, time.monotonic()

    def show(self, event: Event) -> None:
        self._progress.apply(event)
        if event.kind != "run" and event.state not in (BuildState.PENDING, JobState.WAITING, JobState.LEASED):
            detail = f": {event.text}" if event.text else ""
            self._say(f"{event.kind} {self._progress.name_of(event)} {event.state}{detail}")

    def notify(self, text: str) -> None:
        self._say(text)

    def finish(self, run: Run) -> None:
        self._progress.run = run
        self._say(self._progress.summary())

    def _say(self, text: str) -> None:
        elapsed = _clock(time.monotonic() - self._started)
        self._console.print(f"[{elapsed}] {text}", markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """The same on a terminal, redrawn in place."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._started = progress, time.monotonic()
        self._spinner, self._notice = Spinner("dots", style="cyan"), ""

    def show(self, event: Event) -> None:
        self._progress.apply(event)

    def notify(self, text: str) -> None:
        self._notice = text

    def finish(self, run: Run) -> None:
        self._progress.run = run
        self._notice = ""

    def render(self) -> RenderableType:
        progress = self._progress
        parts: list[RenderableType] = [self._builds(), self._bar()]
        running = [job for job, state in list(progress.jobs.items()) if state in _ACTIVE_JOB]
        for job in running[:SHOWN_JOBS]:
            parts.append(
                Text(f"  now  {progress.labels.get(job, job)}", style="cyan", overflow="ellipsis", no_wrap=True)
            )
        if len(running) > SHOWN_JOBS:
            parts.append(Text(f"  and  {len(running) - SHOWN_JOBS} more", style="dim"))
        for text in list(progress.failures.values())[-SHOWN_FAILURES:]:
            parts.append(Text(f"  failed  {text}", style="red"))
        if self._notice:
            parts.append(Text(self._notice, style="yellow"))
        return Group(*parts)

    def _builds(self) -> Table:
        builds = list(self._progress.builds.items())
        table = Table.grid(padding=(0, 2))
        hidden = 0
        for name, (state, text) in builds:
            quiet = state in (BuildState.PENDING, BuildState.BUILT)
            if len(builds) > SHOWN_BUILDS and quiet:
                hidden += 1
                continue
            mark: RenderableType = self._spinner if state == BuildState.BUILDING else ""
            table.add_row(mark, escape(name), Text(state, style=_STYLES.get(state, "dim")), Text(text, style="dim"))
        if hidden:
            table.add_row("", f"{hidden} more recipes", Text("built or pending", style="dim"), "")
        return table

    def _bar(self) -> Table:
        progress = self._progress
        row = Table.grid(padding=(0, 2))
        row.add_row(
            ProgressBar(total=max(1, len(progress.jobs)), completed=progress.done, width=40),
            Text(f"{progress.summary()}  {_clock(time.monotonic() - self._started)}"),
        )
        return row


@contextmanager
def open_view(run: Run, outcomes: Sequence[JobOutcome], console: Console | None = None) -> Iterator[View]:
    """The view that suits ``console`` (default: stderr): live on a terminal, plain lines elsewhere."""
    console = console or Console(stderr=True)
    progress = Progress(run, outcomes)
    if not console.is_terminal:
        yield PlainView(progress, console)
        return
    view = LiveView(progress)
    with Live(get_renderable=view.render, console=console, refresh_per_second=5):
        yield view


def _is_terminal(state: str | None) -> bool:
    return state in (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
