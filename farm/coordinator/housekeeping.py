"""Deletes what is too old, step by step, beside the coordinator's work."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from farm.errors import FarmError
from farm.store import retention
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store

log = logging.getLogger(__name__)

_PERIOD_SECONDS = 3_600.0
_PAUSE_SECONDS = 0.1  # after each step, which holds the writers up for a few milliseconds


async def keep_house(store: Store, artifacts: ArtifactStore, ages: Ages) -> None:
    """Until cancelled."""
    while True:
        steps = retention.sweep(store, artifacts, ages, datetime.now(UTC))
        over = object()
        try:
            step = await asyncio.to_thread(next, steps, over)
            while step is not over:
                await asyncio.sleep(_PAUSE_SECONDS)
                step = await asyncio.to_thread(next, steps, over)
        except FarmError as error:
            log.warning("What is too old was not deleted: %s", error)
        await asyncio.sleep(_PERIOD_SECONDS)
