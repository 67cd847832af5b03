"""What a client asks of the regressions that a farm has found."""

from __future__ import annotations

from farm.connection import Connection
from farm.types import Regression, RegressionState


class Regressions:
    """The part of ``farm.AsyncClient`` that is about regressions (docs/regressions.md)."""

    connection: Connection

    async def regressions(
        self,
        sweep: str | None = None,
        *,
        state: RegressionState | str | None = None,
        device: str | None = None,
        variant: str | None = None,
        night: int | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[Regression]:
        """The newest first; ``before`` is the id to go on from. ``device``, ``variant``: of the series that shows it
        most. Raises NotFoundError for a sweep that is not there."""
        return await self.connection.get(
            "/regressions",
            list[Regression],
            sweep=sweep,
            state=state,
            device=device,
            variant=variant,
            night=night,
            limit=limit,
            before=before,
        )

    async def regression(self, id: int) -> Regression:
        return await self.connection.get(f"/regressions/{id}", Regression)

    async def regression_page(self, id: int) -> str:
        """Its page: one HTML document that needs no network and runs no script."""
        return await self.connection.text(f"/regressions/{id}/page")

    async def close_regression(self, id: int, reason: str) -> Regression:
        """Not to be followed any longer, for this reason. Raises ConflictError where it is over already."""
        return await self.connection.post(f"/regressions/{id}/close", Regression, {"reason": reason})

    async def search_regression(self, id: int) -> Regression:
        """Search once more for the version it came with, where a search ended without one. What that one measured is
        kept. Raises ConflictError where there is nothing to begin again."""
        return await self.connection.post(f"/regressions/{id}/search", Regression)
