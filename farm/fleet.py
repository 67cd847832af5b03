"""What a client asks of the devices of a farm, and orders of them."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from farm.connection import Connection
from farm.types import Device, DeviceDetails, DeviceOrder, Reservation


class Fleet:
    """The part of ``farm.AsyncClient`` that is about devices."""

    connection: Connection

    async def devices(self, selector: str | None = None) -> list[Device]:
        return await self.connection.pages("/devices", Device, key=lambda device: device.id, selector=selector)

    async def device(self, id: str) -> Device:
        return await self.connection.get(_path(id), Device)

    async def device_details(self, id: str) -> DeviceDetails:
        """The device with who has it, its reservation and its last health checks."""
        return await self.connection.get(f"{_path(id)}/details", DeviceDetails)

    async def order_device(
        self, id: str, kind: Literal["drain", "maintain", "resume", "check", "loop"], reason: str = ""
    ) -> DeviceOrder:
        """Have the farm do it, soon; for admins. Raises NotFoundError."""
        return await self.connection.post(f"{_path(id)}/orders", DeviceOrder, {"kind": kind, "reason": reason})

    async def reservations(self) -> list[Reservation]:
        """Those in force, of everybody."""
        return await self.connection.get("/reservations", list[Reservation])

    async def reserve(self, id: str, seconds: float, reason: str = "") -> Reservation:
        """From now on only your jobs are started on the device; what runs there is not interrupted. Extends your
        reservation if you have one. Raises NotFoundError, ConflictError if somebody else has it, QuotaError.
        """
        return await self.connection.post(
            f"{_path(id)}/reservation", Reservation, {"seconds": seconds, "reason": reason}
        )

    async def release(self, id: str) -> None:
        """Give the device back before its time. Raises NotFoundError if it is not reserved, ForbiddenError if it is
        somebody else's and you are no admin."""
        await self.connection.delete(f"{_path(id)}/reservation")


def _path(id: str) -> str:
    return f"/devices/{quote(id, safe='')}"
