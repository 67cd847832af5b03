"""The coordinator's sockets: their names, and how a question on one is answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from farm.errors import FarmError

log = logging.getLogger(__name__)

_MAX_QUESTION_BYTES = 1 << 16


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough: such paths end at 107 characters, so go by the folder's
    descriptor. Raises OSError where there is no folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listener(path: Path) -> socket.socket:
    """A stream socket there, in place of an older one, that only its owner may connect to."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.fchmod(made.fileno(), 0o600)  # what is bound takes it over: at no moment is the file open to others
    with reachable(path) as name:
        made.bind(name)
    return made


@contextlib.asynccontextmanager
async def answering(
    path: Path, answer: Callable[[bytes], Awaitable[bytes]], *, what: str, client_seconds: float
) -> AsyncIterator[None]:
    """Have ``answer`` called in this event loop for every line that comes, until the end of the ``with`` block.

    One that cannot be read, or that has no answer, gets none. ``client_seconds``: for it to come and the answer to go.
    """

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(client_seconds):
                writer.write(await answer(await reader.readline()))
                await writer.drain()
        except ValidationError as error:
            log.warning("%s that cannot be read: %s", what, error)
        except FarmError as error:
            log.info("%s without an answer: %s", what, error)
        except (ConnectionError, TimeoutError, ValueError) as error:  # ValueError: the line is too long
            log.info("%s was given up: %s", what, error or "it took too long")
        finally:
            writer.close()

    server = await asyncio.start_unix_server(converse, sock=listener(path), limit=_MAX_QUESTION_BYTES)
    async with server:
        yield
