"""Artifacts and how they came to be."""

from __future__ import annotations

import codecs
from typing import Annotated

from fastapi import APIRouter, Path, Query

from farm.errors import NotFoundError, UserError
from farm.server.auth import Reader
from farm.server.parameters import PAGE, Id, PageLimit, Seq
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.store import loose
from farm.types import Build, BuildLogPart, BuildState

router = APIRouter(prefix="/builds", tags=["builds"], route_class=Route)

LOG_BYTES = 1 << 18  # of one answer
Key = Annotated[str, Path(pattern=r"^[0-9a-f]{4,64}$", description="The key, or the unique beginning of one.")]


@router.get("", responses=documented())
def builds(farm: Farm, caller: Reader, run: Id | None = None, limit: PageLimit = PAGE) -> list[Build]:
    """Those that the newest jobs need first, or the jobs of one run."""
    with farm.store.reading() as reading:
        return reading.newest_builds(limit, run)


@router.get("/{key}", responses=documented(NotFoundError, UserError))
def build(key: Key, farm: Farm, caller: Reader) -> Build:
    with farm.store.reading() as reading:
        return reading.find_build(key)


@router.get("/{key}/log", responses=documented(NotFoundError, UserError))
def log(
    key: Key,
    farm: Farm,
    caller: Reader,
    offset: Seq = 0,
    limit: Annotated[int, Query(ge=1_024, le=LOG_BYTES)] = LOG_BYTES,
) -> BuildLogPart:
    """What the build says, from byte ``offset`` on: while it runs as far as it has come, afterwards to the end."""
    with farm.store.reading() as reading:
        found = reading.find_build(key)
    over = found.state in (BuildState.BUILT, BuildState.FAILED)
    kept = loose.build_log(found.artifact, found.failure)
    if kept is not None:
        with farm.artifacts.open(kept.sha256) as file:
            file.seek(offset)
            content = file.read(limit)
        at_end = offset + len(content) >= kept.size_bytes
    else:
        if over and found.artifact is not None:
            raise NotFoundError(
                f"The log of build {key[:12]} is gone.", remedy="It goes with the last run that used it."
            )
        everything = farm.artifacts.live(found.key)
        content, at_end = everything[offset : offset + limit], offset + limit >= len(everything)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content, final=over and at_end)
    rest = len(decoder.getstate()[0])  # of a character that is cut
    return BuildLogPart(text=text, next_offset=offset + len(content) - rest, complete=over and at_end)
