"""Puts on record what is due, and what is asked for. Each in the caller's transaction, with the sweep's next due time:
killed anywhere, a due time is either on record or still due, and the table takes no two nights for one.

A night that waits for an earlier one of its sweep gives way to the next one: the model is fetched when a night begins,
so that both would measure the same, one after the other. One that somebody asked for stays.
"""

from __future__ import annotations

from datetime import datetime

from farm.errors import ConflictError
from farm.store.transaction import Transaction
from farm.sweeps.schedule import DueNight, next_due, settle
from farm.types import Night, NightState, Sweep, SweepSpec


def fire(tx: Transaction, sweep: Sweep, now: datetime) -> bool:
    """What is due of the sweep; whether more is, at once."""
    schedule = sweep.spec.schedule
    if sweep.next_at is None or sweep.next_at > now or sweep.paused or schedule is None:
        return False
    settlement = settle(schedule, sweep.next_at, now)
    for due in settlement.nights:
        _record(tx, sweep, due, now)
    tx.set_next(sweep.spec.name, settlement.next_at)
    return settlement.next_at is not None and settlement.next_at <= now


def apply(tx: Transaction, spec: SweepSpec, by: str, now: datetime) -> Sweep:
    """What was due by the old schedule is put on record first. The same spec once more changes nothing."""
    found = tx.find_sweep(spec.name)
    if found is not None:
        if found.spec == spec:
            return found
        found = _fire_all(tx, found, now)
    paused = found.paused if found else False
    if found is not None and found.spec.schedule == spec.schedule:
        next_at = found.next_at
    else:
        next_at = None if paused else _next(spec, now)
    return tx.put_sweep(spec, by, now, next_at, paused=paused)


def pause(tx: Transaction, name: str, now: datetime) -> Sweep:
    """Nothing is due while it is paused, and nothing of that time afterwards. Idempotent."""
    sweep = _fire_all(tx, tx.sweep(name), now)
    return sweep if sweep.paused else tx.set_paused(name, None, now, paused=True)


def resume(tx: Transaction, name: str, now: datetime) -> Sweep:
    """Idempotent."""
    sweep = tx.sweep(name)
    return tx.set_paused(name, _next(sweep.spec, now), now, paused=False) if sweep.paused else sweep


def ask(tx: Transaction, name: str, by: str, now: datetime) -> Night:
    """A night now, paused or not. Raises NotFoundError, and ConflictError where one that was asked for waits."""
    tx.sweep(name)
    waiting = [night for night in tx.nights_in(NightState.WAITING) if night.sweep == name and night.trigger == "manual"]
    night = None if waiting else tx.add_night(name, now, "manual", by)
    if night is None:
        raise ConflictError(
            f"A night of {name} that {waiting[0].requested_by if waiting else by} asked for waits already.",
            remedy=f"`farm sweep history {name}` shows what it waits for.",
        )
    return night


def remove(tx: Transaction, name: str) -> None:
    """Raises NotFoundError, and ConflictError while a night of it is under way."""
    if night := tx.night_in_the_way(name):
        doing = f"measured by run {night.run_id}" if night.run_id else "prepared"
        wait = f", or cancel it: `farm runs cancel {night.run_id}`" if night.run_id else ""
        raise ConflictError(
            f"Night {night.id} of {name} is being {doing}.",
            remedy=f"Pause the sweep, wait for the night{wait}, then remove it.",
        )
    tx.remove_sweep(name)


def _fire_all(tx: Transaction, sweep: Sweep, now: datetime) -> Sweep:
    while fire(tx, sweep, now):
        sweep = tx.sweep(sweep.spec.name)
    return tx.sweep(sweep.spec.name)


def _record(tx: Transaction, sweep: Sweep, due: DueNight, now: datetime) -> None:
    name = sweep.spec.name
    if due.runs:
        later = f"{due.due_at:%Y-%m-%d %H:%M} UTC"
        tx.skip_waiting(name, f"gave way to the night of {later}, which was due before it began", now)
    tx.add_night(name, due.due_at, due.trigger, sweep.created_by, skipped=None if due.runs else due.reason, at=now)


def _next(spec: SweepSpec, now: datetime) -> datetime | None:
    return next_due(spec.schedule, now) if spec.schedule else None
