"""Types of request parameters, bounded by what the database can hold."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field

_LARGEST = 2**63 - 1

Id = Annotated[int, Field(ge=1, le=_LARGEST)]
Seq = Annotated[int, Field(ge=0, le=_LARGEST)]

PAGE = 200  # of a long list: some 10 to 20 ms of work, which other requests wait for
PageLimit = Annotated[int, Query(ge=1, le=PAGE)]
