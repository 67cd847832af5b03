"""Looks after the devices: carries out what people asked of them, runs their checks, minds when something falls due."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from farm.coordinator import events as ev
from farm.errors import InfrastructureError
from farm.store.reading import Reading
from farm.store.transaction import Transaction
from farm.types import CheckStep, DeviceCheck, DeviceHealth, DeviceOrder

if TYPE_CHECKING:
    from farm.coordinator.coordinator import Coordinator

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_LOOP_PAUSE_SECONDS = 5.0  # between the checks of a looping device


class Caretaker:
    def __init__(self, coordinator: Coordinator) -> None:
        self._farm = coordinator
        self._due: list[tuple[float, str]] = []  # heap: when (monotonic) a bad device is checked again
        self._reserved: dict[str, datetime] = {}  # device -> until when

    def remember(self, reading: Reading) -> list[ev.Event]:
        """What the store knows of devices, as events for a new state machine."""
        events: list[ev.Event] = []
        for device in reading.devices():
            events.append(
                ev.DeviceRemembered(device.id, device.health, device.health_reason, device.failures, device.maintenance)
            )
            if device.health is DeviceHealth.BAD:
                self.quarantine(device.id)
        for reservation in reading.reservations(datetime.now(UTC)):
            self._reserved[reservation.device_id] = reservation.until
            events.append(ev.DeviceReserved(reservation.device_id, reservation.user))
        return events

    def quarantine(self, device_id: str) -> None:
        """It gets no jobs; it is checked again after a while, should it have mended."""
        heapq.heappush(self._due, (time.monotonic() + self._farm.settings.health_recheck_seconds, device_id))

    def tick(self) -> None:
        """Take in new orders, and what has fallen due."""
        with self._farm.store.reading() as reading:
            orders = reading.device_orders()
            events = [self._event(order, reading) for order in orders]
        events += [*self._ended_reservations(), *self._due_checks()]

        def write(tx: Transaction) -> None:
            for order in orders:
                tx.drop_order(order.id)

        if events:
            self._farm.turn(*events, writing=write)

    async def check(self, device_id: str, step: CheckStep, *, looping: bool) -> None:
        """Until its agent has answered, or nobody waits for the answer any more."""
        if looping:
            await asyncio.sleep(_LOOP_PAUSE_SECONDS)
        while (device := self._farm.state.devices[device_id]).checking:
            try:
                if (follower := self._farm.follower(device.agent)) is not None:
                    await self._take(await follower.check(device_id, step))
                    return
            except InfrastructureError as error:
                log.warning("check of %s: %s", device_id, error)
            await asyncio.sleep(_RETRY_SECONDS)

    # --- inside ---------------------------------------------------------------------------------------

    def _event(self, order: DeviceOrder, reading: Reading) -> ev.Event:
        if order.kind != "reserve":
            log.info("%s is told to %s by %s (%s)", order.device_id, order.kind, order.by, order.reason)
            return ev.DeviceOrdered(order.device_id, order.kind, order.reason)
        reservation = reading.reservation(order.device_id, datetime.now(UTC))
        if reservation is None:
            self._reserved.pop(order.device_id, None)
            return ev.DeviceReserved(order.device_id, None)
        self._reserved[order.device_id] = reservation.until
        return ev.DeviceReserved(order.device_id, reservation.user)

    def _ended_reservations(self) -> list[ev.Event]:
        now = datetime.now(UTC)  # reservations are agreed between people, by the clock on the wall
        ended = [device_id for device_id, until in self._reserved.items() if until <= now]
        for device_id in ended:
            del self._reserved[device_id]
        return [ev.DeviceReserved(device_id, None) for device_id in ended]

    def _due_checks(self) -> list[ev.Event]:
        events: list[ev.Event] = []
        while self._due and self._due[0][0] <= time.monotonic():
            _, device_id = heapq.heappop(self._due)
            if self._farm.state.devices[device_id].health is DeviceHealth.BAD:
                events.append(ev.DeviceOrdered(device_id, "check"))
        return events

    async def _take(self, check: DeviceCheck) -> None:
        if not check.passed:
            log.warning("%s failed its check (%s): %s", check.device_id, check.step, check.detail)
        await self._farm.shared_turn(
            ev.DeviceChecked(check.device_id, check.passed, check.detail),
            writing=lambda tx: tx.add_device_check(check),
        )
