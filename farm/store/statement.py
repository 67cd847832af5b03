"""How queries are put to the database: what everything that reads or writes here is built on."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from farm.errors import NotFoundError
from farm.types import Frozen

T = TypeVar("T", bound=Frozen)


class Reader:
    """One consistent view of the database."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def _first(self, query: sa.Select[Any]) -> sa.Row[Any] | None:
        return self._connection.execute(query.limit(1)).first()


class Writer(Reader):
    def _insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        return _insert(self._connection.dialect.name, table)

    def _insert_new(self, table: sa.Table, **values: Any) -> bool:
        statement = _insert_new(self._connection.dialect.name, table)
        return self._connection.execute(statement, values).first() is not None

    def _insert_numbered(self, table: sa.Table, **values: Any) -> int:
        key = self._connection.execute(_insert_any(table), values).inserted_primary_key
        assert key is not None  # noqa: S101 - for the type checker: a single-row insert has one
        return int(key[0])

    def _update(self, table: sa.Table, key: str | int, what: str, **values: Any) -> None:
        """The row with this primary key. Raises NotFoundError."""
        self._expect_row(self._connection.execute(_update_one(table), {"row": key, **values}), what)

    @staticmethod
    def _expect_row(done: sa.CursorResult[Any], what: str) -> None:
        if done.rowcount == 0:
            raise NotFoundError(f"No {what}.", remedy="It may have been removed; list what there is.")


def as_value(kind: type[T], row: sa.Row[Any]) -> T:
    return kind.model_validate(dict(row._mapping))


# To make a statement takes longer than SQLite needs for it: those that are on the way of every job are made once.


@cache
def _insert(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    # "ON CONFLICT" is written the same on both, but SQLAlchemy keeps it with the dialect.
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@cache
def _insert_new(dialect: str, table: sa.Table) -> Any:
    return _insert(dialect, table).on_conflict_do_nothing().returning(sa.literal(1))


@cache
def _insert_any(table: sa.Table) -> sa.Insert:
    return sa.insert(table)


@cache
def _update_one(table: sa.Table) -> sa.Update:
    (key,) = table.primary_key.columns
    return sa.update(table).where(key == sa.bindparam("row"))
