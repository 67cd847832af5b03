"""Queries of what people are told outside of the farm: queued with what it is about, sent at least once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import sqlalchemy as sa

from farm.store import tables
from farm.store.statement import Reader, Writer, as_value
from farm.types import Notice, NoticeKind, NoticeState

_NOTICE = [tables.notices.c[name] for name in Notice.model_fields]
_UNSENT = ("pending", "dead")


class NoticeReading(Reader):
    def notice(self, notice_id: int) -> Notice | None:
        row = self._first(sa.select(*_NOTICE).where(tables.notices.c.id == notice_id))
        return as_value(Notice, row) if row else None

    def notices(self, state: NoticeState | None = None, channel: str | None = None, limit: int = 50) -> list[Notice]:
        """The newest first."""
        table = tables.notices.c
        query = sa.select(*_NOTICE).order_by(table.id.desc()).limit(limit)
        if state is not None:
            query = query.where(table.state == state)
        if channel is not None:
            query = query.where(table.channel == channel)
        return [as_value(Notice, row) for row in self._connection.execute(query)]

    def due_notice(self, now: datetime, but_of: Collection[str] = ()) -> Notice | None:
        """The one that is due for longest, except those of channels that rest."""
        table = tables.notices.c
        due = sa.and_(table.state == "pending", table.next_at <= now, table.channel.not_in(sorted(but_of)))
        row = self._first(sa.select(*_NOTICE).where(due).order_by(table.next_at, table.id))
        return as_value(Notice, row) if row else None

    def notice_counts(self) -> dict[str, dict[NoticeState, int]]:
        """By channel and state; channels that were never told anything are absent."""
        table = tables.notices.c
        counted = sa.select(table.channel, table.state, sa.func.count()).group_by(table.channel, table.state)
        counts: dict[str, dict[NoticeState, int]] = {}
        for channel, state, count in self._connection.execute(counted.order_by(table.channel)):
            counts.setdefault(channel, {"pending": 0, "sent": 0, "dead": 0})[state] = count
        return counts


class NoticeWriting(NoticeReading, Writer):
    def add_notice(
        self,
        channel: str,
        kind: NoticeKind,
        cause: str,
        subject: str,
        text: str,
        data: Mapping[str, object],
        at: datetime,
    ) -> bool:
        """Have it said on the channel; False where the channel was told of this ``cause`` (200 characters) before."""
        return self._insert_new(
            tables.notices,
            channel=channel,
            kind=kind,
            cause=cause,
            subject=subject,
            text=text,
            data=dict(data),
            state="pending",
            attempts=0,
            queued_at=at,
            next_at=at,
        )

    def settle_notice(self, notice: Notice, at: datetime) -> None:
        """The receiver has taken it."""
        self._try_ended(notice, state="sent", reason="", ended_at=at)

    def postpone_notice(self, notice: Notice, until: datetime, reason: str) -> None:
        self._try_ended(notice, next_at=until, reason=reason)

    def bury_notice(self, notice: Notice, reason: str, at: datetime) -> None:
        """It was refused for good, or for too long."""
        self._try_ended(notice, state="dead", reason=reason, ended_at=at)

    def revive_notices(self, at: datetime, ids: Collection[int] | None = None, channel: str | None = None) -> int:
        """Have dead ones tried again, and pending ones now; how many. None: all."""
        table = tables.notices
        anew = {"state": "pending", "attempts": 0, "next_at": at, "ended_at": None}
        chosen = sa.update(table).where(table.c.state.in_(_UNSENT)).values(anew)
        if ids is not None:
            chosen = chosen.where(table.c.id.in_(sorted(ids)))
        if channel is not None:
            chosen = chosen.where(table.c.channel == channel)
        return self._connection.execute(chosen).rowcount

    def _try_ended(self, notice: Notice, **values: object) -> None:
        # Only of one that still waits: what was revived meanwhile, or sent by another, stays as it is.
        table = tables.notices
        same = sa.and_(table.c.id == notice.id, table.c.state == "pending", table.c.attempts == notice.attempts)
        self._connection.execute(sa.update(table).where(same).values(attempts=notice.attempts + 1, **values))
