"""What a client asks of the sweeps of a farm, and changes of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from farm.connection import Connection
from farm.types import Night, Sweep, SweepPlan, SweepSpec


class Sweeping:
    """The part of ``farm.AsyncClient`` that is about sweeps. Methods take a ``SweepSpec``, or the ``Path`` of a YAML
    file with one (docs/sweeps.md)."""

    connection: Connection

    async def plan_sweep(self, sweep: SweepSpec | Path) -> SweepPlan:
        """What applying it would change, and what a night comes to. Changes nothing."""
        return await self.connection.post("/sweeps/plan", SweepPlan, _spec(sweep))

    async def apply_sweep(self, sweep: SweepSpec | Path) -> Sweep:
        """Make it, or put it in place of the one of that name. Raises ForbiddenError where that is somebody else's."""
        spec = _spec(sweep)
        return await self.connection.put(_path(spec.name), Sweep, spec)

    async def sweeps(self) -> list[Sweep]:
        """By name."""
        return await self.connection.pages("/sweeps", Sweep, key=lambda sweep: sweep.spec.name)

    async def sweep(self, name: str) -> Sweep:
        return await self.connection.get(_path(name), Sweep)

    async def run_sweep(self, name: str) -> Night:
        """A night now; ``nights`` says what becomes of it. Raises ConflictError where one waits already."""
        return await self.connection.post(f"{_path(name)}/run", Night)

    async def pause_sweep(self, name: str) -> Sweep:
        return await self.connection.post(f"{_path(name)}/pause", Sweep)

    async def resume_sweep(self, name: str) -> Sweep:
        return await self.connection.post(f"{_path(name)}/resume", Sweep)

    async def remove_sweep(self, name: str) -> None:
        """With its nights and regressions; runs and history stay. Raises ConflictError while a night is under way."""
        await self.connection.delete(_path(name))

    async def nights(self, name: str, limit: int | None = None, before: int | None = None) -> list[Night]:
        """The newest first; ``before`` is the id to go on from."""
        return await self.connection.get(f"{_path(name)}/nights", list[Night], limit=limit, before=before)


def _spec(sweep: SweepSpec | Path) -> SweepSpec:
    if isinstance(sweep, SweepSpec):
        return sweep
    from farm.sweeps.document import read_one

    return read_one(sweep)


def _path(name: str) -> str:
    return f"/sweeps/{quote(name, safe='')}"
