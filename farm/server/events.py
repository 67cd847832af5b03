"""The event stream: one reader of the events table for all followers, at work only while there are any."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from farm.errors import InfrastructureError
from farm.store.database import Store
from farm.types import Event, RunState

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0  # while the database does not serve
_BATCH = 500


class Tail:
    """Follows the events table. One per event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._followers: dict[asyncio.Queue[Event | None], int] = {}  # to run id
        self._poller: asyncio.Task[None] | None = None
        self._polling: asyncio.Event

    async def follow(self, run_id: int, after: int) -> AsyncGenerator[Event, None]:
        """Events of a run with ``seq`` above ``after``, past ones and then live, until the run's last one.

        May end before that one, when this process does; who follows then asks again.
        """
        # Queue first, then read what is there: what is committed in between comes both ways, never neither.
        with self._registered(run_id) as queue:
            await self._polling.wait()
            over = False
            while True:
                past, over = await asyncio.to_thread(self._past, run_id, after)
                for old in past:
                    after = old.seq
                    yield old
                if len(past) < _BATCH:
                    break
            while not over and (event := await queue.get()) is not None:
                if event.seq > after:
                    yield event
                    over = _ends_run(event)

    async def close(self) -> None:
        """Ends every ``follow``."""
        self._end_all()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])

    @contextmanager
    def _registered(self, run_id: int) -> Iterator[asyncio.Queue[Event | None]]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._followers[queue] = run_id
        if self._poller is None:
            self._polling = asyncio.Event()
            self._poller = asyncio.create_task(self._poll(self._polling), name="event tail")
            self._poller.add_done_callback(self._poller_ended)
        try:
            yield queue
        finally:
            del self._followers[queue]
            if not self._followers and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    def _poller_ended(self, poller: asyncio.Task[None]) -> None:
        if not poller.cancelled():
            log.error("The event stream broke off", exc_info=poller.exception())
            self._poller = None
            self._polling.set()
            self._end_all()

    def _end_all(self) -> None:
        for queue in self._followers:
            queue.put_nowait(None)

    def _past(self, run_id: int, after: int) -> tuple[list[Event], bool]:
        with self._store.reading() as reading:
            return reading.events_after(after, run_id, _BATCH), reading.run(run_id).state is not RunState.ACTIVE

    async def _poll(self, polling: asyncio.Event) -> None:
        seq: int | None = None
        while True:
            try:
                if seq is None:
                    seq = await asyncio.to_thread(self._last_seq)
                    polling.set()
                events = await asyncio.to_thread(self._since, seq)
            except InfrastructureError as error:
                log.warning("The event stream waits: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for event in events:
                seq = event.seq
                for queue, run_id in self._followers.items():
                    if run_id == event.run_id:
                        queue.put_nowait(event)
            if len(events) < _BATCH:
                await asyncio.sleep(POLL_SECONDS)

    def _last_seq(self) -> int:
        with self._store.reading() as reading:
            return reading.last_event_seq()

    def _since(self, seq: int) -> list[Event]:
        with self._store.reading() as reading:
            return reading.events_after(seq, limit=_BATCH)


def _ends_run(event: Event) -> bool:
    return event.kind == "run" and event.state in (RunState.FINISHED, RunState.CANCELLED)
