"""A power meter beside one device, around attempts: opened when it is first wanted, its times carried to the device."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from agents.android.phone import Phone
from agents.meters import catalogue, external
from agents.meters.catalogue import ClockOffset
from agents.meters.external import PowerMeter
from farm.config import PowerMeterSetting
from farm.errors import DeviceError, DeviceTimeout, FarmError
from farm.types import PowerSeries

log = logging.getLogger(__name__)

T = TypeVar("T")
_LIMIT_SECONDS = 30.0  # of each call of the meter's library


@dataclass(frozen=True)
class Recorded:
    """``series``: on the device's uptime, which is known to ``uncertainty_seconds``."""

    series: PowerSeries
    uncertainty_seconds: float


class Beside:
    """One recording at a time. All calls of the meter's library are made in one thread, which USB libraries expect, so
    that what ends a recording comes after what began it."""

    def __init__(self, setting: PowerMeterSetting) -> None:
        self._setting = setting
        self._meter: PowerMeter | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="power-meter")
        self._attempt = ""  # whose recording runs
        self._offset = ClockOffset(0.0, 0.0)  # as it began

    async def start(self, attempt: str, phone: Phone) -> None:
        """Raises FarmError where it cannot record."""
        await self.drop(self._attempt)
        if self._meter is None:
            self._meter = await self._call(lambda: catalogue.open_meter(self._setting))
        self._attempt = attempt
        await self._call(self._meter.start)
        try:
            self._offset = await catalogue.clock_offset(phone)
        except BaseException:
            await self.drop(attempt)
            raise

    async def stop(self, attempt: str, phone: Phone) -> Recorded:
        """The clocks are compared again: how far they ran apart meanwhile is part of the uncertainty.

        Raises FarmError where readings were lost, or nothing was recorded.
        """
        if self._meter is None or not attempt or self._attempt != attempt:
            raise DeviceError(
                "The meter beside the device recorded nothing: the agent was restarted meanwhile.",
                remedy="Measure again.",
            )
        self._attempt = ""
        series = await self._call(self._meter.stop)
        return aligned(series, self._offset, await catalogue.clock_offset(phone))

    async def drop(self, attempt: str) -> None:
        """End a recording of this attempt that nobody wants; none is no error."""
        if not attempt or self._attempt != attempt or self._meter is None:
            return
        self._attempt = ""
        try:
            await self._call(self._meter.stop)
        except FarmError as error:
            log.info("%s", error)

    async def close(self) -> None:
        await self.drop(self._attempt)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, work: Callable[[], T]) -> T:
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise DeviceTimeout(
                f"The power meter {self._setting.kind} {self._setting.serial or ''} did not answer within "
                f"{_LIMIT_SECONDS:g} s.",
                remedy="Turn it off and on, and look at its USB cable.",
            ) from error


def aligned(series: PowerSeries, before: ClockOffset, after: ClockOffset) -> Recorded:
    """On the device's uptime: by the mean of both comparisons, known to the larger uncertainty and half of what lies
    between them. Pure."""
    uncertainty_seconds = max(before.uncertainty_seconds, after.uncertainty_seconds)
    return Recorded(
        external.on_device_clock(series, (before.seconds + after.seconds) / 2),
        uncertainty_seconds + abs(after.seconds - before.seconds) / 2,
    )
