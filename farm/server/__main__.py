"""``python -m farm.server``: serve the API until SIGTERM or SIGINT, by farm.toml and ``FARM_*``."""

from __future__ import annotations

import errno
import gc
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn

from farm import config
from farm.config import Settings
from farm.errors import FarmError, InfrastructureError
from farm.server.app import create_app
from farm.server.events import Tail

SHUTDOWN_SECONDS = 5
_BACKLOG = 2048
# A small request changes threads several times, and waits so long for each while a large one computes.
_SWITCH_SECONDS = 0.0005


def listen(host: str, port: int) -> socket.socket:
    """Port 0 takes a free one. Raises InfrastructureError when the address cannot be had."""
    # asyncio turns Nagle's algorithm off (40 ms per answer) only where the socket names its protocol.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InfrastructureError(
                f"Port {port} of {host} is taken.",
                remedy="Another farm may run already (`farm doctor`); end it, or set FARM_PORT to another port.",
            ) from error
        raise InfrastructureError(
            f"The API cannot listen at {host}:{port}: {error.strerror}.",
            remedy="Correct host and port (FARM_HOST, FARM_PORT).",
        ) from error
    return listener


def serve(settings: Settings) -> None:
    """Blocks until told to stop; open requests get ``SHUTDOWN_SECONDS`` to end."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    with listen(settings.host, settings.port) as listener:
        app = create_app(settings)
        gc.freeze()  # what is loaded stays: the collector need not look at it again, which stops all requests
        server_config = uvicorn.Config(
            app, access_log=False, log_config=None, timeout_graceful_shutdown=SHUTDOWN_SECONDS
        )
        host, port = listener.getsockname()[:2]
        logging.getLogger(__name__).info("API at http://%s:%d", f"[{host}]" if ":" in host else host, port)
        _Server(server_config, app.state.resources.tail).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends event streams before it waits for connections to end: they would never do so by themselves."""

    def __init__(self, config: uvicorn.Config, tail: Tail) -> None:
        super().__init__(config)
        self._tail = tail

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._tail.close()
        await super().shutdown(sockets)


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _stop)  # uvicorn hands the signal on to it once it has shut down
    try:
        serve(config.load())
    except FarmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
