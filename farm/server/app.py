"""The HTTP API as a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

import farm
from farm.config import Settings
from farm.coordinator.enquiry import Enquiry
from farm.coordinator.nudge import Nudge
from farm.server import problems
from farm.server.events import Tail
from farm.server.limits import JsonBodies
from farm.server.resources import Resources
from farm.server.routes import (
    blobs,
    builds,
    cluster,
    devices,
    health,
    identity,
    jobs,
    models,
    recipes,
    reservations,
    runs,
)
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store

API_PREFIX = "/api/v1"
_LEFTOVER_SECONDS = 86_400.0  # no upload takes a day


def create_app(settings: Settings) -> FastAPI:
    """The API of the farm in ``settings.state_dir``; brings its database to this version.

    Raises InfrastructureError, ConfigError where database or artifact store cannot be used.
    """
    store = Store(settings.resolved_database_url)
    store.migrate()
    artifacts = ArtifactStore(settings.resolved_store_url)
    artifacts.discard_leftovers(min_age_seconds=_LEFTOVER_SECONDS)
    tail = Tail(store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await tail.close()
        store.close()

    app = FastAPI(
        title="Torchfarm",
        version=farm.__version__,
        description=f"{farm.__doc__}\n\nErrors are RFC 9457 problem documents; clients match on their `code`.",
        lifespan=lifespan,
        openapi_url=f"{API_PREFIX}/openapi.json",
        docs_url=f"{API_PREFIX}/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    state_dir = settings.state_dir
    app.state.resources = Resources(settings, store, artifacts, tail, Nudge(state_dir), Enquiry(state_dir))
    problems.install(app)
    app.add_middleware(JsonBodies)
    api = APIRouter(prefix=API_PREFIX)
    for noun in (health, identity, blobs, models, recipes, devices, reservations, runs, jobs, builds, cluster):
        api.include_router(noun.router)
    app.include_router(api)
    return app
