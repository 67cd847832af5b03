"""Asks the coordinator why jobs wait. It knows as of now; the store only what was written down last.

One line of JSON each way over a Unix stream socket: ids of jobs there, a ``JobWait`` for each that waits back.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from pydantic import TypeAdapter

from farm.coordinator.socketpath import answering, reachable
from farm.types import JobWait

MAX_JOBS = 500  # at once
_MAX_ANSWER_BYTES = 1 << 22
_CLIENT_SECONDS = 2.0  # for its question to come and the answer to go
_QUESTION = TypeAdapter(list[int])
_ANSWER = TypeAdapter(list[JobWait])


class Enquiry:
    """A socket in the state folder, or the lack of one where the coordinator runs elsewhere or is down."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "enquiry.sock"

    def ask(self, job_ids: Sequence[int], timeout_seconds: float = 1.0) -> dict[int, JobWait] | None:
        """Those of at most ``MAX_JOBS`` jobs that wait; None if nobody answers in time. Blocks."""
        deadline_seconds = time.monotonic() + timeout_seconds
        answer = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_seconds)
                with reachable(self._path) as path:
                    connection.connect(path)
                connection.sendall(_QUESTION.dump_json(list(job_ids)) + b"\n")
                while not answer.endswith(b"\n"):
                    left_seconds = deadline_seconds - time.monotonic()
                    if left_seconds <= 0 or len(answer) > _MAX_ANSWER_BYTES:
                        return None
                    connection.settimeout(left_seconds)
                    received = connection.recv(1 << 16)
                    if not received:
                        return None
                    answer += received
        except OSError:
            return None
        return {wait.job_id: wait for wait in _ANSWER.validate_json(bytes(answer))}

    @contextlib.asynccontextmanager
    async def serve(self, answer: Callable[[Sequence[int]], list[JobWait]]) -> AsyncIterator[None]:
        """Have ``answer`` called in this event loop for every question, until the end of the ``with`` block."""

        async def respond(line: bytes) -> bytes:
            question = _QUESTION.validate_json(line)
            return _ANSWER.dump_json(answer(question[:MAX_JOBS])) + b"\n"

        async with answering(self._path, respond, what="An enquiry", client_seconds=_CLIENT_SECONDS):
            yield
