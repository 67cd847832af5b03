"""The coordinator's metrics and its agents' readings, for the API to hand on to Prometheus.

One line of JSON over a Unix stream socket, the answer back until its end; no answer where there is none.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from pydantic import TypeAdapter

from farm.coordinator.socketpath import answering, reachable
from farm.types import DeviceReadings, Frozen, Name

_CLIENT_SECONDS = 5.0  # for its question to come and the answer to go
READINGS = TypeAdapter(dict[str, DeviceReadings])


class Question(Frozen):
    """The readings of an agent's devices, or without one the coordinator's own metrics as a scraper with this
    ``Accept`` header wants them."""

    agent: Name | None = None
    accept: str = ""


class Scrape:
    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "scrape.sock"

    def own(self, accept: str, timeout_seconds: float = 2.0) -> bytes | None:
        """The coordinator's metrics; None if it does not answer in time. Blocks."""
        return self._ask(Question(accept=accept), timeout_seconds)

    def agent(self, name: str, timeout_seconds: float = _CLIENT_SECONDS) -> dict[str, DeviceReadings] | None:
        """By device; None if the coordinator or the agent does not answer in time. Blocks."""
        answer = self._ask(Question(agent=name), timeout_seconds)
        return None if answer is None else READINGS.validate_json(answer)

    def _ask(self, question: Question, timeout_seconds: float) -> bytes | None:
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_seconds)
                with reachable(self._path) as path:
                    connection.connect(path)
                connection.sendall(question.model_dump_json().encode() + b"\n")
                while received := connection.recv(1 << 16):
                    answer += received
        except OSError:
            return None
        return bytes(answer) or None

    @contextlib.asynccontextmanager
    async def serve(
        self, own: Callable[[str], bytes], agent: Callable[[str], Awaitable[dict[str, DeviceReadings]]]
    ) -> AsyncIterator[None]:
        """Until the end of the ``with`` block. ``own`` gets an ``Accept`` header, ``agent`` a name."""

        async def answer(line: bytes) -> bytes:
            question = Question.model_validate_json(line)
            if question.agent is None:
                return own(question.accept)
            return READINGS.dump_json(await agent(question.agent))

        async with answering(self._path, answer, what="A scrape", client_seconds=_CLIENT_SECONDS):
            yield
