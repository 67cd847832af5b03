"""Asks a model's source in a thread: an export may take hours, and nothing else is to be late for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Asked(threading.Thread, Generic[T]):
    """A daemon: what a process was asking when it stopped is asked again by the next one."""

    def __init__(self, ask: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._found: list[T] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._found.append(self._ask())
        except Exception as error:  # noqa: BLE001 - raised again by ``result``
            self._error = error

    def result(self) -> T:
        """Once it has ended. Raises what the source raised."""
        if self._error is not None:
            raise self._error
        return self._found[0]
