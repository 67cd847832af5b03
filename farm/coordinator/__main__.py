"""``python -m farm.coordinator``: one life of the coordinator. Its supervisor starts the next one."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys

from farm.cluster.connection import Cluster
from farm.config import load
from farm.coordinator.coordinator import Coordinator, TurnFailed
from farm.errors import ConfigError, FarmError
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store

log = logging.getLogger("farm.coordinator")


async def _run() -> None:
    settings = load()
    if settings.ray_address is None:
        raise ConfigError("The coordinator has no ray_address.", remedy="Start it with `farm up`.")
    store = Store(settings.resolved_database_url)
    cluster = Cluster(settings.ray_address)
    coordinator = Coordinator(settings, store, ArtifactStore(settings.resolved_store_url), cluster)
    work = asyncio.create_task(coordinator.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        coordinator.concluder.close()
        cluster.close()
        store.close()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    gc.freeze()  # what is loaded stays: the collector need not look at it again, which stops everything
    status = 0
    try:
        asyncio.run(_run())
    except* (FarmError, TurnFailed) as group:
        log.error("%s", "; ".join(map(str, group.exceptions)))
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
