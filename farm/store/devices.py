"""Queries of devices: what is known of them, who has them, and what people asked of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farm.errors import ConflictError, NotFoundError
from farm.store import tables
from farm.store.statement import Reader, Writer, as_value
from farm.types import (
    Attempt,
    Device,
    DeviceCheck,
    DeviceHealth,
    DeviceOrder,
    DeviceState,
    OrderKind,
    Reservation,
)

OPEN_ATTEMPT_STATES = ["leased", "running"]
_KEPT_CHECKS = 50  # per device


@dataclass(frozen=True)
class DeviceChange:
    """What the head says of a device now."""

    device_id: str
    state: DeviceState
    health: DeviceHealth
    health_reason: str = ""
    failures: int = 0
    maintenance: str | None = None


class DeviceReading(Reader):
    def devices(self, limit: int | None = None, after: str = "") -> list[Device]:
        """Ordered by id; ``after`` is the id to go on from."""
        query = _DEVICES.where(tables.devices.c.id > after).order_by(tables.devices.c.id).limit(limit)
        return [_device(row) for row in self._connection.execute(query)]

    def devices_named(self, ids: Collection[str]) -> list[Device]:
        """Those of ``ids`` that exist."""
        return [_device(row) for row in self._connection.execute(_DEVICES.where(tables.devices.c.id.in_(ids)))]

    def device(self, device_id: str) -> Device:
        """Raises NotFoundError."""
        row = self._first(_DEVICES.where(tables.devices.c.id == device_id))
        if row is None:
            raise NotFoundError(f"No device {device_id!r}.", remedy="`farm devices` shows the devices there are.")
        return _device(row)

    def device_checks(self, device_id: str, limit: int = 10) -> list[DeviceCheck]:
        """The newest first."""
        table = tables.device_checks.c
        columns = [table[name] for name in DeviceCheck.model_fields]
        rows = self._connection.execute(
            sa.select(*columns).where(table.device_id == device_id).order_by(table.id.desc()).limit(limit)
        )
        return [as_value(DeviceCheck, row) for row in rows]

    def reservation(self, device_id: str, now: datetime) -> Reservation | None:
        """The one in force."""
        table = tables.reservations.c
        row = self._first(
            sa.select(tables.reservations)
            .where(table.device_id == device_id, table.until > now)
            .order_by(table.id.desc())
        )
        return as_value(Reservation, row) if row else None

    def reservations(self, now: datetime, user: str | None = None) -> list[Reservation]:
        """Those in force, of everybody or of one user, ordered by device."""
        table = tables.reservations.c
        query = sa.select(tables.reservations).where(table.until > now).order_by(table.device_id)
        if user is not None:
            query = query.where(table.user == user)
        return [as_value(Reservation, row) for row in self._connection.execute(query)]

    def device_orders(self) -> list[DeviceOrder]:
        """Those not carried out yet, the oldest first."""
        rows = self._connection.execute(sa.select(tables.device_orders).order_by(tables.device_orders.c.id))
        return [as_value(DeviceOrder, row) for row in rows]

    def job_seconds(self, device_id: str, limit: int = 20) -> list[float]:
        """How long the newest finished attempts had the device, the newest first."""
        table = tables.attempts.c
        rows = self._connection.execute(
            sa.select(table.leased_at, table.ended_at)
            .where(table.device_id == device_id, table.state == "finished", table.ended_at.is_not(None))
            .order_by(table.id.desc())
            .limit(limit)
        )
        return [(row.ended_at - row.leased_at).total_seconds() for row in rows]

    def holder(self, device_id: str) -> Attempt | None:
        """The attempt that has it leased."""
        table = tables.attempts.c
        row = self._first(
            sa.select(tables.attempts)
            .where(table.device_id == device_id, table.state.in_(OPEN_ATTEMPT_STATES))
            .order_by(table.id.desc())
        )
        return as_value(Attempt, row) if row else None

    def pools(self, run_id: int) -> dict[int, tuple[str, ...]]:
        """The devices that the run may choose from, by the number of the pool."""
        table = tables.pools.c
        rows = self._connection.execute(
            sa.select(table.number, table.candidates).where(table.run_id == run_id).order_by(table.number)
        )
        return {row.number: row.candidates for row in rows}


class DeviceWriting(DeviceReading, Writer):
    def upsert_device(self, device: Device, at: datetime) -> None:
        """What its agent says of it, seen ``at``. Of a known device all that the head says of it stays."""
        of_agent = {
            "agent": device.agent,
            "host": device.host,
            "facts": device.facts,
            "labels": device.labels,
            "blocked": device.blocked,
            "readings": device.readings,
            "recovery": device.recovery,
            "hooks": device.hooks,
            "last_seen_at": at,
        }
        insert = self._insert(tables.devices).values(
            id=device.id,
            state=device.state,
            health=device.health,
            health_reason=device.health_reason,
            failures=device.failures,
            maintenance=device.maintenance,
            **of_agent,
        )
        self._connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_=of_agent))

    def set_devices(self, changes: Sequence[DeviceChange]) -> None:
        """Thousands in one go. Raises NotFoundError."""
        gone = [{"device": change.device_id} for change in changes if change.state is DeviceState.OFFLINE]
        if gone:
            self._connection.execute(_NOTE_LAST_SEEN, gone)
        values = [{"device" if name == "device_id" else name: v for name, v in vars(c).items()} for c in changes]
        if self._connection.execute(_SET_DEVICE, values).rowcount < len(changes):
            raise NotFoundError(f"Not all of {len(changes)} devices are there.", remedy="They may have been removed.")

    def set_noise(self, ratios: Mapping[str, float]) -> None:
        """By device; of one that is not there any longer, nothing is kept."""
        if ratios:
            table = tables.devices
            statement = sa.update(table).where(table.c.id == sa.bindparam("device"))
            rows = [{"device": device, "noise": ratio} for device, ratio in ratios.items()]
            self._connection.execute(statement.values(noise_ratio=sa.bindparam("noise")), rows)

    def all_devices_offline(self) -> None:
        self._connection.execute(
            sa.update(tables.devices).values(state=DeviceState.OFFLINE, last_seen_at=_last_seen_when_it_went())
        )

    def hear_agent(self, agent: str, at: datetime) -> None:
        """It answered: all its devices that are not offline were seen now (``Device.last_seen_at``)."""
        self.heartbeat(f"@{agent}", at)

    def heartbeat(self, process: str, at: datetime) -> None:
        insert = self._insert(tables.heartbeats).values(process=process, at=at)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["process"], set_={"at": at}))

    def add_device_check(self, check: DeviceCheck) -> None:
        """Old ones of the device go."""
        table = tables.device_checks
        of_device = table.c.device_id == check.device_id
        self._connection.execute(sa.insert(table).values(**check.model_dump()))
        newest = sa.select(table.c.id).where(of_device).order_by(table.c.id.desc())
        if row := self._first(newest.offset(_KEPT_CHECKS)):
            self._connection.execute(sa.delete(table).where(of_device, table.c.id <= row.id))

    def order_device(self, device_id: str, kind: OrderKind, by: str, at: datetime, reason: str = "") -> DeviceOrder:
        """For the coordinator to carry out. Raises NotFoundError."""
        self.device(device_id)
        values: dict[str, Any] = {"device_id": device_id, "kind": kind, "by": by, "at": at, "reason": reason}
        return DeviceOrder(id=self._insert_numbered(tables.device_orders, **values), **values)

    def drop_order(self, order_id: int) -> None:
        """It is carried out."""
        self._connection.execute(sa.delete(tables.device_orders).where(tables.device_orders.c.id == order_id))

    def reserve(self, device_id: str, user: str, reason: str, at: datetime, until: datetime) -> Reservation:
        """A reservation that the user has already is extended, never cut short. Raises NotFoundError, and
        ConflictError if somebody else has the device."""
        self.device(device_id)
        held = self.reservation(device_id, at)
        if held is None:
            values: dict[str, Any] = {
                "device_id": device_id,
                "user": user,
                "reason": reason,
                "created_at": at,
                "until": until,
            }
            return Reservation(id=self._insert_numbered(tables.reservations, **values), **values)
        if held.user != user:
            raise ConflictError(
                f"{held.user} has reserved device {device_id} until {held.until:%Y-%m-%d %H:%M} UTC"
                f"{f' ({held.reason})' if held.reason else ''}.",
                remedy=f"Ask {held.user} to release it, wait, or take another device.",
            )
        changed = {"until": max(until, held.until), "reason": reason or held.reason}
        self._update(tables.reservations, held.id, f"reservation {held.id}", **changed)
        return held.model_copy(update=changed)

    def end_reservation(self, device_id: str, at: datetime) -> None:
        """Raises NotFoundError if there is none in force."""
        table = tables.reservations
        done = self._connection.execute(
            sa.update(table).where(table.c.device_id == device_id, table.c.until > at).values(until=at)
        )
        if done.rowcount == 0:
            raise NotFoundError(
                f"Device {device_id!r} is not reserved.", remedy="`farm devices` shows which devices are."
            )

    def move_jobs(self, job_ids: Sequence[int], device_id: str) -> None:
        """They are to be measured there."""
        self._connection.execute(
            sa.update(tables.jobs).where(tables.jobs.c.id.in_(job_ids)).values(device_id=device_id)
        )


def _agent_of_heartbeat(agent: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Agents have heartbeats, too, told from the farm's own processes by what no name begins with."""
    return tables.heartbeats.c.process == sa.literal("@") + agent


_DEVICES = sa.select(tables.devices, tables.heartbeats.c.at.label("heard_at")).outerjoin(
    tables.heartbeats, _agent_of_heartbeat(tables.devices.c.agent)
)


def _device(row: sa.Row[Any]) -> Device:
    """One line per agent says when it was heard of, instead of one per device: idle devices cost nothing."""
    values = dict(row._mapping)
    heard_at, seen_at = values.pop("heard_at"), values["last_seen_at"]
    if values["state"] != DeviceState.OFFLINE and heard_at and (seen_at is None or heard_at > seen_at):
        values["last_seen_at"] = heard_at
    return Device.model_validate(values)


def _last_seen_when_it_went() -> sa.ColumnElement[datetime]:
    """For a device that goes offline: from here on its agent no longer speaks for it."""
    device = tables.devices.c
    heard_at = sa.select(tables.heartbeats.c.at).where(_agent_of_heartbeat(device.agent)).scalar_subquery()
    seen_at = sa.func.coalesce(heard_at, device.last_seen_at)
    return sa.case((device.state == DeviceState.OFFLINE, device.last_seen_at), else_=seen_at)


# Made once: making a statement takes longer than SQLite needs for it.
_OF_DEVICE = tables.devices.c.id == sa.bindparam("device")
_SET_DEVICE = (
    sa.update(tables.devices)
    .where(_OF_DEVICE)
    .values({name: sa.bindparam(name) for name in ("state", "health", "health_reason", "failures", "maintenance")})
)
_NOTE_LAST_SEEN = sa.update(tables.devices).where(_OF_DEVICE).values(last_seen_at=_last_seen_when_it_went())
