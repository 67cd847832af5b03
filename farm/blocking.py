"""The bridge from ordinary code to the asynchronous client: one event loop in a thread of its own.

It works the same where the caller's thread already runs a loop (Jupyter), and it never keeps Python from exiting.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from farm.errors import UserError

T = TypeVar("T")

CLEANUP_SECONDS = 2.0


class LoopThread:
    """``cleanup`` is awaited in the thread at the end: on ``close()``, on garbage collection, or when Python exits."""

    def __init__(self, cleanup: Callable[[], Awaitable[None]]) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=_serve, args=(started, cleanup), name="farm-client", daemon=True)
        thread.start()
        self._loop, ending = started.result()
        self._stop = weakref.finalize(self, _end, self._loop, ending, thread)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run ``coroutine`` to its end. Ctrl-C cancels it and lets it clean up first. Raises UserError once closed."""
        if not self._stop.alive:
            coroutine.close()
            raise UserError("This client is closed.", remedy="Make another, or ask within its `with` block.")
        ended = threading.Event()

        async def run() -> T:
            try:
                return await coroutine
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            ended.wait(CLEANUP_SECONDS)
            raise

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        try:
            while True:
                try:
                    yield self.call(items.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            if self._stop.alive:
                self.call(items.aclose())

    def close(self) -> None:
        self._stop()


def _serve(
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]], cleanup: Callable[[], Awaitable[None]]
) -> None:
    async def main() -> None:
        ending = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), ending))
        await ending.wait()
        await cleanup()

    asyncio.run(main())


def _end(loop: asyncio.AbstractEventLoop, ending: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(ending.set)
    if threading.current_thread() is not thread:  # garbage may be collected in any thread
        thread.join(CLEANUP_SECONDS)
