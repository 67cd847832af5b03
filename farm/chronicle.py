"""What a client asks of what was measured over time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from farm.connection import PAGE, Connection
from farm.types import HistoryPoint, MissingNight

if TYPE_CHECKING:
    from farm.analysis.history import History


class Chronicle:
    """The part of ``farm.AsyncClient`` that is about history."""

    connection: Connection

    async def history(
        self,
        model: str,
        variant: str,
        device: str,
        *,
        scenario: str | None = None,
        since: datetime | None = None,
        limit: int = 1000,
    ) -> History:
        """All results of this variant of the model (by name) on this device, also those of deleted runs, and the
        nights of its sweeps that left none. ``scenario`` as it is printed: ``"single-stream/2t"``; ``since`` is aware;
        ``limit``: the newest so many. Raises NotFoundError, with what is near, where nothing of it was measured."""
        from farm.analysis.history import history

        series: dict[str, Any] = {"model": model, "variant": variant, "device": device, "scenario": scenario}
        if since is not None:
            series["since"] = since.isoformat()
        points: list[HistoryPoint] = []
        while len(points) < limit:
            wanted = min(PAGE, limit - len(points))
            before = points[-1].job_id if points else None
            page = await self.connection.get("/history", list[HistoryPoint], limit=wanted, before=before, **series)
            points += page
            if len(page) < wanted:
                break
        missing = await self.connection.get("/history/missing", list[MissingNight], **series)
        if len(points) >= limit:  # what is before the points given is not missing among them
            missing = [night for night in missing if night.due_at >= min(point.measured_at for point in points)]
        return history(model, variant, device, points, missing)
