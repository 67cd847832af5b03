"""Sends files to a phone: while a part is on its way, the one before is verified there and joined to the whole."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agents.android import files
from agents.android.adb import Slice
from agents.android.files import Delivery, Part
from agents.android.phone import Output
from farm.errors import DeviceError, InfrastructureError


class Phone(Protocol):
    @property
    def serial(self) -> str: ...

    async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output: ...

    async def run(self, command: str, *, what: str, timeout_seconds: float = 10.0) -> str: ...

    async def send(self, slices: Sequence[Slice], arrived: Callable[[Slice], None]) -> None: ...


async def send(phone: Phone, deliveries: Sequence[Delivery]) -> None:
    """Until all are verified and in their places. What is there of them from before is not sent again.

    Raises LinkLost, DeviceTimeout, DeviceError (no room), InfrastructureError (damaged on the way, or changed here).
    """
    found = files.surveyed(await phone.run(files.survey(deliveries), what="Making room for files"))
    present = {one.staging: found.get(one.staging, {}) for one in deliveries}
    unsent = [part for one in deliveries for part in files.unsent(one, present[one.staging])]
    coming = {part.remote: asyncio.Event() for part in unsent}
    large = [one for one in deliveries if one.joined]
    tasks = [
        asyncio.create_task(phone.send([part.slice for part in unsent], lambda one: coming[one.remote].set())),
        asyncio.create_task(_join_all(phone, large, present, coming)),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    small_bytes = sum(one.size_bytes for one in deliveries if not one.joined)
    await _tell(phone, files.placing(deliveries), small_bytes)


async def _join_all(
    phone: Phone,
    deliveries: Sequence[Delivery],
    present: Mapping[str, Mapping[str, int]],
    coming: Mapping[str, asyncio.Event],
) -> None:
    for one in deliveries:
        unjoined = {part.number for part in files.unjoined(one, present[one.staging])}
        digest = hashlib.sha256()
        for part in files.parts(one):
            sha256 = await asyncio.to_thread(_hash, part, digest)
            if part.number not in unjoined:
                continue
            if part.remote in coming:
                await coming[part.remote].wait()
            await _tell(phone, files.joining(part, sha256), part.length)
        # The phone has what was read here just now: that has to be what was promised.
        if digest.hexdigest() != one.sha256:
            await phone.run(files.discarding(one), what="Removing a file that changed")
            raise InfrastructureError(
                f"{one.local} changed: its hash is {digest.hexdigest()}, not {one.sha256}.",
                remedy="It is fetched and sent again with the next try.",
            )


def _hash(part: Part, whole: hashlib._Hash) -> str:
    with part.delivery.local.open("rb") as file:
        file.seek(part.offset)
        content = file.read(part.length)
    whole.update(content)
    return hashlib.sha256(content).hexdigest()


async def _tell(phone: Phone, script: str, size_bytes: int) -> None:
    output = await phone.shell(script, timeout_seconds=files.seconds_for(size_bytes))
    if output.exit_code:
        said = output.stderr.strip()[-300:]
        remedy = "Free storage on it." if "space" in said.lower() else "It is sent again with the next try."
        kind = InfrastructureError if output.exit_code == 3 else DeviceError
        raise kind(f"What was sent to {phone.serial} cannot be used: {said}.", remedy=remedy)
