"""Queries of what sweeps' sources have given so far: files of one version are fetched, or exported, once."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from farm.store import tables
from farm.store.statement import Reader, Writer


class PreparationReading(Reader):
    def prepared_model(self, key: str) -> str | None:
        """The id of the model that was made of the version with this key."""
        table = tables.preparations.c
        return self._connection.execute(sa.select(table.model_id).where(table.key == key)).scalar()


class PreparationWriting(PreparationReading, Writer):
    def note_preparation(self, key: str, model_id: str, at: datetime) -> None:
        """The first one counts: an export that is made twice may come to other bits."""
        self._insert_new(tables.preparations, key=key, model_id=model_id, at=at)
