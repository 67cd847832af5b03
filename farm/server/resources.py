"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request

from farm.config import Settings
from farm.coordinator.enquiry import Enquiry
from farm.coordinator.nudge import Nudge
from farm.coordinator.scrape import Scrape
from farm.metrics.monitor import ApiMonitor
from farm.server.events import Tail
from farm.server.exposition import Exposition
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store


@dataclass(frozen=True)
class Resources:
    settings: Settings
    store: Store
    artifacts: ArtifactStore
    tail: Tail
    nudge: Nudge
    enquiry: Enquiry
    scrape: Scrape
    monitor: ApiMonitor
    exposition: Exposition


async def _of(request: Request) -> Resources:  # a plain function would be run in a thread
    resources: Resources = request.app.state.resources
    return resources


Farm = Annotated[Resources, Depends(_of)]


def now() -> datetime:
    return datetime.now(UTC)
