"""Counts requests and how long their answers took to begin, by route."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from farm.metrics.monitor import ApiMonitor

_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observing:
    def __init__(self, app: ASGIApp, monitor: ApiMonitor) -> None:
        self._app, self._monitor = app, monitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_seconds = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A path or method that the API does not have makes no series: anybody can send such.
                route = getattr(scope.get("route"), "path", _NO_ROUTE)
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._monitor.answered(method, route, message["status"], time.perf_counter() - began_seconds)
            await send(message)

        await self._app(scope, receive, observed)
