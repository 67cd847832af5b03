"""The HTTP API as a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

import farm
from farm.config import Settings
from farm.coordinator.enquiry import Enquiry
from farm.coordinator.nudge import Nudge
from farm.coordinator.scrape import Scrape
from farm.metrics.monitor import ApiMonitor
from farm.server import problems
from farm.server.events import Tail
from farm.server.exposition import Exposition
from farm.server.limits import JsonBodies
from farm.server.observing import Observing
from farm.server.resources import Resources
from farm.server.routes import (
    blobs,
    builds,
    cluster,
    devices,
    health,
    history,
    identity,
    jobs,
    metrics,
    models,
    recipes,
    regressions,
    reservations,
    runs,
    sweeps,
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
    monitor, scrape = ApiMonitor(), Scrape(state_dir)
    app.state.resources = Resources(
        settings,
        store,
        artifacts,
        tail,
        Nudge(state_dir),
        Enquiry(state_dir),
        scrape,
        monitor,
        Exposition(monitor, store, scrape),
    )
    problems.install(app)
    app.add_middleware(JsonBodies)
    app.add_middleware(Observing, monitor=monitor)
    api = APIRouter(prefix=API_PREFIX)
    nouns = (
        *(health, identity, blobs, models, recipes, devices, reservations, runs, jobs, builds),
        *(sweeps, regressions, history, cluster),
    )
    for noun in nouns:
        api.include_router(noun.router)
    app.include_router(api)
    app.include_router(metrics.router, include_in_schema=False)  # where Prometheus looks
    for route in (route for noun in (*nouns, metrics) for route in noun.router.routes):
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                monitor.expect(method, route.path)
    return app
