"""Handles of submitted runs: wait for them, follow them, compare their results."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.blocking import LoopThread
from farm.connection import Connection
from farm.errors import ConflictError, InfrastructureError, NotFoundError
from farm.types import Event, JobOutcome, JobState, JobWait, Run, RunState

if TYPE_CHECKING:
    from farm.analysis.comparison import Comparison
    from farm.analysis.difference import Difference
    from farm.analysis.profile import OperatorProfile

logger = logging.getLogger("farm")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
# How long a farm may be away (a restart, an upgrade) before a waiting client gives up on it.
PATIENCE_SECONDS = 300.0


class AsyncRunHandle:
    """A submitted run. ``info`` is what the head said of it last."""

    def __init__(self, connection: Connection, info: Run) -> None:
        self.connection = connection
        self.info = info

    @property
    def id(self) -> int:
        return self.info.id

    @property
    def state(self) -> RunState:
        """As of the last ``refresh()`` or ``wait()``."""
        return self.info.state

    @property
    def jobs(self) -> dict[JobState, int]:
        """How many jobs are in which state, as of the last ``refresh()`` or ``wait()``."""
        return self.info.jobs

    def __repr__(self) -> str:
        done = sum(count for state, count in self.jobs.items() if state.terminal)
        return f"<run {self.id} of {self.info.model_name}: {self.state}, {done} of {sum(self.jobs.values())} jobs done>"

    async def refresh(self) -> AsyncRunHandle:
        self.info = await self.connection.get(f"/runs/{self.id}", Run)
        return self

    async def cancel(self) -> AsyncRunHandle:
        """Ask the farm to stop what runs and drop the rest. Raises ConflictError if the run is over."""
        self.info = await self.connection.post(f"/runs/{self.id}/cancel", Run)
        return self

    async def delete(self) -> None:
        """The run with its results, for good. Raises ConflictError while it is active."""
        await self.connection.delete(f"/runs/{self.id}")

    async def outcomes(self) -> list[JobOutcome]:
        """Every job, with its device, artifact and result as far as they are known."""
        return await outcomes(self.connection, self.id)

    async def waits(self) -> list[JobWait]:
        """Why jobs have not started; of the first 500 of those."""
        return await self.connection.get(f"/runs/{self.id}/waits", list[JobWait])

    async def compare(self, *, include_virtual: bool = False) -> Comparison:
        """The jobs side by side. For a report with the latency distributions, see ``report()``.

        Virtual devices are left out where there are real ones, unless ``include_virtual``; they are always marked.
        """
        return await compare(self.connection, [self.id], include_virtual=include_virtual)

    async def profile(self, recipe: str, device: str | None = None, scenario: str | None = None) -> OperatorProfile:
        """What the operators of a variant cost; ``.diff(other)`` compares two. The run must have been submitted with
        ``Protocol(profile=True)``. Raises NotFoundError, with the reason where there is one, and UserError where
        several devices or scenarios have it."""
        from farm.analysis.profile import find

        return find(await self.outcomes(), recipe, device, scenario)

    async def report(self, path: str | Path) -> Path:
        """Write the HTML report, one self-contained file."""
        comparison = await self.compare()
        samples: dict[int, Sequence[float]] = {}
        for row in comparison.rows:
            if row.outcome.result:
                with suppress(NotFoundError):  # the report says so
                    samples[row.outcome.job.id] = await latency_samples(self.connection, row.outcome.job.id)
        return await asyncio.to_thread(comparison.report, path, samples)

    async def wait(self, progress: bool = False, timeout_seconds: float | None = None) -> AsyncRunHandle:
        """Until the run is finished or cancelled; failed jobs do not raise, they show in ``compare()``.

        A farm that goes away meanwhile is waited for, up to ``PATIENCE_SECONDS``; that is said on stderr.
        Raises ConflictError when ``timeout_seconds`` are over, InfrastructureError when the farm stays away.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                await (self._show() if progress else self._follow())
        except TimeoutError:
            raise ConflictError(
                f"Run {self.id} was not finished after {timeout_seconds:g} s.",
                remedy=f"It goes on at the farm: wait again, watch it with `farm runs watch {self.id}`, or cancel it.",
            ) from None
        return self

    async def _follow(self) -> None:
        await self._settle(logger.warning)
        if self.state is RunState.ACTIVE:
            async with aclosing(self.events()) as events:
                async for _ in events:
                    pass
            await self._settle(logger.warning)

    async def _show(self) -> None:
        from farm.progress import open_view

        await self._settle(logger.warning)
        with open_view(self.info, await self.outcomes()) as view:
            async with aclosing(self.events(notify=view.notify)) as events:
                async for event in events:
                    view.show(event)
            await self._settle(view.notify)
            view.finish(self.info)

    async def _settle(self, notify: Callable[[str], None]) -> None:
        """``refresh()`` that outlasts a restart of the head, too."""
        patience = _Patience(self, notify)
        while True:
            try:
                await self.refresh()
            except InfrastructureError as error:
                await patience.bear(error)
            else:
                return

    async def events(
        self, after: int = 0, notify: Callable[[str], None] = logger.warning
    ) -> AsyncGenerator[Event, None]:
        """What happened to the run since event ``after``, and then live until its end.

        Each event comes once and in order, also across lost connections and restarts of the head; ``notify`` is
        told of those. Raises InfrastructureError when the farm stays away for ``PATIENCE_SECONDS``.
        """
        patience, over = _Patience(self, notify), False
        while True:
            try:
                async with self.connection.events(self.id, after) as events:
                    patience.answered()
                    async for event in events:
                        after = event.seq
                        yield event
                        if event.kind == "run" and event.state in (RunState.FINISHED, RunState.CANCELLED):
                            return
                # An end without the last event: that one was before ``after``, or the connection was cut.
                if over:
                    return
                over = (await self.refresh()).state is not RunState.ACTIVE
                if not over:
                    await patience.pause()
            except InfrastructureError as error:
                await patience.bear(error)


class _Patience:
    """Pauses between tries while a farm is away, longer and longer, and says so once."""

    def __init__(self, handle: AsyncRunHandle, notify: Callable[[str], None]) -> None:
        self._url, self._run_id, self._notify = handle.connection.url, handle.id, notify
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._away_since_seconds: float | None = None

    def answered(self) -> None:
        if self._away_since_seconds is not None:
            self._notify(f"{self._url} answers again.")
        self._away_since_seconds, self._pause_seconds = None, FIRST_PAUSE_SECONDS

    async def pause(self) -> None:
        await asyncio.sleep(self._pause_seconds)
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)

    async def bear(self, error: InfrastructureError) -> None:
        """Pause, or raise InfrastructureError at the end of patience."""
        now = time.monotonic()
        if self._away_since_seconds is None:
            self._away_since_seconds = now
            self._notify(f"{error.message} Trying again for {PATIENCE_SECONDS:g} s.")
        elif now - self._away_since_seconds > PATIENCE_SECONDS:
            raise InfrastructureError(
                f"{self._url} has not answered for {PATIENCE_SECONDS:g} s. {error.message}",
                remedy=f"When the farm is back, run {self._run_id} goes on: `farm runs watch {self._run_id}`.",
            ) from error
        await self.pause()


class RunHandle:
    """``AsyncRunHandle`` for ordinary code; see there."""

    def __init__(self, handle: AsyncRunHandle, loop: LoopThread) -> None:
        self._handle = handle
        self._loop = loop

    @property
    def id(self) -> int:
        return self._handle.id

    @property
    def info(self) -> Run:
        return self._handle.info

    @property
    def state(self) -> RunState:
        return self._handle.state

    @property
    def jobs(self) -> dict[JobState, int]:
        return self._handle.jobs

    def __repr__(self) -> str:
        return repr(self._handle)

    def refresh(self) -> RunHandle:
        self._loop.call(self._handle.refresh())
        return self

    def cancel(self) -> RunHandle:
        self._loop.call(self._handle.cancel())
        return self

    def wait(self, progress: bool = False, timeout_seconds: float | None = None) -> RunHandle:
        self._loop.call(self._handle.wait(progress, timeout_seconds))
        return self

    def delete(self) -> None:
        self._loop.call(self._handle.delete())

    def outcomes(self) -> list[JobOutcome]:
        return self._loop.call(self._handle.outcomes())

    def waits(self) -> list[JobWait]:
        return self._loop.call(self._handle.waits())

    def events(self, after: int = 0) -> Iterator[Event]:
        return self._loop.iterate(self._handle.events(after))

    def compare(self, *, include_virtual: bool = False) -> Comparison:
        """See ``AsyncRunHandle.compare``."""
        return compare_blocking(self._handle.connection, [self.id], self._loop, include_virtual=include_virtual)

    def profile(self, recipe: str, device: str | None = None, scenario: str | None = None) -> OperatorProfile:
        """See ``AsyncRunHandle.profile``."""
        return self._loop.call(self._handle.profile(recipe, device, scenario))

    def report(self, path: str | Path) -> Path:
        return self._loop.call(self._handle.report(path))


async def compare(
    connection: Connection,
    run_ids: Sequence[int],
    load_samples: Callable[[int], Sequence[float]] | None = None,
    *,
    include_virtual: bool = False,
) -> Comparison:
    """``load_samples`` is called, if ever, by the comparison's own ``report()``."""
    from farm.analysis.comparison import Comparison

    runs = [await connection.get(f"/runs/{run_id}", Run) for run_id in run_ids]
    found = [outcome for run in runs for outcome in await outcomes(connection, run.id)]
    return Comparison(found, runs=runs, load_samples=load_samples, include_virtual=include_virtual)


async def diff(connection: Connection, before: Run, now: Run, **options: Any) -> Difference:
    """``options``: those of ``Difference``."""
    from farm.analysis.difference import Difference

    return Difference(before, now, await outcomes(connection, before.id), await outcomes(connection, now.id), **options)


def compare_blocking(
    connection: Connection, run_ids: Sequence[int], loop: LoopThread, *, include_virtual: bool = False
) -> Comparison:
    def load_samples(job_id: int) -> Sequence[float]:
        return loop.call(latency_samples(connection, job_id))

    return loop.call(compare(connection, run_ids, load_samples, include_virtual=include_virtual))


async def outcomes(connection: Connection, run_id: int) -> list[JobOutcome]:
    """Every job of the run, in the order of the submission."""
    return await connection.pages(f"/runs/{run_id}/outcomes", JobOutcome, key=lambda outcome: outcome.job.id)


async def latency_samples(connection: Connection, job_id: int) -> list[float]:
    """Every measured latency of a job, in seconds. Raises NotFoundError where the farm keeps none, or only quantiles of
    them because of their age."""
    samples = await connection.get(f"/jobs/{job_id}/samples", dict[str, Any])
    if left := samples["thinned"]:
        raise NotFoundError(
            f"Of the {left['measured_count']} samples of job {job_id} only quantiles are kept: they got too old.",
            remedy="The figures of its result stand; for samples, measure it again, or raise samples_days.",
        )
    found: list[float] = samples["latency_seconds"]
    return found
