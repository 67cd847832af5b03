"""The run that a gate compares with, by the name that people give it."""

from __future__ import annotations

import re
from urllib.parse import quote

from farm.connection import Connection
from farm.errors import ConflictError, NotFoundError
from farm.runs import outcomes
from farm.types import JobState, Night, NightState, Run, RunState, VerdictLevel

SWEEP = "sweep:"
_PAGE = 50
_NIGHTS = 30  # further back is no baseline


async def find(connection: Connection, ref: str | int, run: Run) -> Run:
    """``ref``: the number of a run; ``sweep:NAME``, the last examined night that has a trusted result; or a label, the
    newest finished run of that name and of ``run``'s model which was submitted before ``run``.

    A label looks back from ``run``: whoever asks again later gets the same answer. Raises NotFoundError, and
    ConflictError where the run named is not over or is ``run`` itself.
    """
    text = str(ref)
    if text.startswith(SWEEP):
        return await _of_sweep(connection, text.removeprefix(SWEEP), run)
    if not re.fullmatch(r"\d+", text):
        return await _of_label(connection, text, run)
    found = await connection.get(f"/runs/{int(text)}", Run)
    if found.id == run.id:
        raise ConflictError(f"Run {run.id} cannot be its own baseline.", remedy="Name an earlier run.")
    ensure_over(found)
    return found


def ensure_over(run: Run) -> None:
    """Raises ConflictError while jobs of the run are open."""
    if run.state is RunState.ACTIVE:
        raise ConflictError(f"Run {run.id} is not over yet.", remedy=f"Wait for it first: `farm runs watch {run.id}`.")


async def _of_label(connection: Connection, label: str, run: Run) -> Run:
    before: int | None = run.id
    while before is not None:
        page = await connection.get(
            "/runs",
            list[Run],
            model=run.model_name,
            name=label,
            state=RunState.FINISHED.value,
            limit=_PAGE,
            before=before,
        )
        for found in page:
            if found.jobs.get(JobState.FINISHED):
                return found
        before = page[-1].id if len(page) == _PAGE else None
    raise NotFoundError(
        f"No finished run named {label!r} of model {run.model_name!r} with a result was submitted before run {run.id}.",
        remedy=f"Submit one with `--name {label}` (docs/ci.md), or give --baseline a run's number.",
    )


async def _of_sweep(connection: Connection, name: str, run: Run) -> Run:
    nights = await connection.get(f"/sweeps/{quote(name, safe='')}/nights", list[Night], limit=_NIGHTS)
    for night in sorted(nights, key=lambda night: night.due_at, reverse=True):
        if night.state is not NightState.EXAMINED or night.run_id in (None, run.id):
            continue
        found = await connection.get(f"/runs/{night.run_id}", Run)
        levels = {one.result.verdict.level for one in await outcomes(connection, found.id) if one.result}
        if VerdictLevel.TRUSTED in levels:
            return found
    raise NotFoundError(
        f"None of the last {_NIGHTS} nights of sweep {name!r} was examined and has a trusted result.",
        remedy=f"`farm sweep history {name}` shows how they went; or give --baseline a run's number.",
    )
