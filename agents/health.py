"""Health checks of devices: a step of the recovery ladder, if one is asked for, then the driver's own check."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar

from agents.attached import Attached
from agents.drivers.base import Driver
from agents.hooks import Hooks
from farm.config import Settings
from farm.errors import FarmError, InfrastructureError
from farm.types import CheckStep, DeviceCheck, RecoveryStep

log = logging.getLogger(__name__)
T = TypeVar("T")


class HealthChecks:
    """At most one at a time per device. ``clock``: monotonic seconds."""

    def __init__(self, settings: Settings, attached: Attached, hooks: Hooks, clock: Callable[[], float]) -> None:
        self._attached, self._hooks, self._clock = attached, hooks, clock
        self._recovery_timeout_seconds = settings.agent_recovery_timeout_seconds
        self._check_timeout_seconds = settings.agent_check_timeout_seconds
        self._running: dict[str, asyncio.Task[DeviceCheck]] = {}

    async def close(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def is_checking(self, device_id: str) -> bool:
        return device_id in self._running

    async def check(self, device_id: str, step: CheckStep) -> DeviceCheck:
        """What came of it; nothing is raised. Who asks while one is running gets the answer of that one, whatever
        step it took: a head that was started again must not reboot a device twice."""
        task = self._running.get(device_id)
        if task is None:
            task = self._running[device_id] = asyncio.create_task(self._check(device_id, step))
            task.add_done_callback(lambda _: self._running.pop(device_id))
        return await asyncio.shield(task)  # it goes on when the one who asked is gone

    async def _check(self, device_id: str, step: CheckStep) -> DeviceCheck:
        began_seconds = self._clock()
        passed, detail = False, ""
        try:
            driver = self._attached.driver_of(device_id)
            if step != "check":
                await self._recover(driver, device_id, step)
            detail = await _within(self._check_timeout_seconds, "The check", driver.check(device_id))
            passed = True
        except FarmError as error:
            detail = str(error)
        except Exception as error:  # a bug of a driver must not leave the device without an answer
            log.exception("check of %s", device_id)
            detail = f"The driver failed: {error!r}. Report this bug."
        seconds = self._clock() - began_seconds
        return DeviceCheck(
            device_id=device_id, at=datetime.now(UTC), step=step, passed=passed, detail=detail, seconds=seconds
        )

    async def _recover(self, driver: Driver, device_id: str, step: RecoveryStep) -> None:
        if step not in self._attached.device(device_id).recovery:
            remedy = "Set agent_hook_power_cycle." if step == "power-cycle" else "Its driver cannot do that."
            raise InfrastructureError(f"{device_id} offers no {step}.", remedy=remedy)

        async def take() -> None:
            if step == "power-cycle":
                await self._hooks.run(step, device_id)
            await driver.recover(device_id, step)

        await _within(self._recovery_timeout_seconds, f"The {step}", take())


def refused(device_id: str, step: CheckStep, reason: str) -> DeviceCheck:
    """A check that was not made."""
    return DeviceCheck(device_id=device_id, at=datetime.now(UTC), step=step, passed=False, detail=reason, seconds=0)


async def _within(seconds: float, what: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise  # its own
        raise InfrastructureError(f"{what} took longer than {seconds:g} s.", remedy="See the device.") from error
