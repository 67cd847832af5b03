"""Android phones and emulators behind adb: measured by hosts' own harness in the portable runtime, or by a native tool.

A phone that is pulled goes on measuring; its attempt is collected when it is back, while its time-out lasts. What runs
or lies on a phone and belongs to no attempt that is known here is ended and removed when the phone is plugged in, and
before every launch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.android import attempt as attempts
from agents.android.adb import Server
from agents.android.attempt import Provision
from agents.android.handset import Handset
from agents.android.keeper import Keeper
from agents.android.metering import Sampling
from agents.android.phone import ATTEMPTS
from agents.android.places import Places
from agents.android.stock import Stock
from agents.drivers import cores, outcome, phonecheck
from farm.config import Settings
from farm.errors import DeviceError, DeviceTimeout, FarmError, InfrastructureError, LinkLost, OutputCut
from farm.types import Device, DeviceFacts, Lease, Measurement, RecoveryStep, Telemetry

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_RESUMES = 5  # of a launch whose link is cut meanwhile
_AWAY_SECONDS = 60.0  # that a launch waits for a phone which was pulled


@dataclass(frozen=True)
class _Handle:
    """All that a later process needs to collect an attempt. ``attempt``: its id on the phone. ``energy_absent``: why
    its energy was not to be measured."""

    device: str
    attempt: str
    facts: DeviceFacts
    idle_seconds: float
    energy_absent: str = ""

    def text(self) -> str:
        return json.dumps({**vars(self), "facts": self.facts.model_dump(mode="json")})

    @classmethod
    def read(cls, text: str) -> _Handle:
        fields = json.loads(text)
        return cls(**{**fields, "facts": DeviceFacts.model_validate(fields["facts"])})


class AndroidDriver:
    """Devices are looked for from the first ``discover`` inside an event loop on. ``close`` leaves attempts running but
    on emulators, which end with the agent."""

    name = "android"
    needs_files = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.state_dir / "agents" / settings.agent_name
        self._servers = tuple(_server(address) for address in settings.agent_adb_servers)
        self._stock = Stock(settings)
        self._keeper = Keeper(settings, self._folder, self._servers)
        self._opened: Places | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def discover(self) -> tuple[Device, ...]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # no event loop: somebody only looks at what drivers there are
            return ()
        return self._places.shown

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._opened:
            await self._opened.close()

    @property
    def _places(self) -> Places:
        if self._opened is None:
            folder = self._folder / "phones"
            self._opened = Places(self._settings, folder, self._servers, self._stock, self._keeper)
        return self._opened

    # --- attempts -------------------------------------------------------------------------------------

    async def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        place = self._places.of(lease.device_id)
        held = self._places.handset(lease.device_id)
        provision = await self._stock.provision(lease, place.facts.abi)
        cpus = cores.pinned(lease.scenario, range(place.facts.cpu_count), place.facts.clusters, lease.device_id)
        async with held.lock:
            try:
                attempt, sampling = await self._launched(held, place.facts, lease, files, folder, provision, cpus)
            except BaseException:
                self._go(self._tidied(held))
                raise
        return _Handle(lease.device_id, attempt, place.facts, sampling.idle_seconds, sampling.refusal).text()

    async def _launched(
        self,
        held: Handset,
        facts: DeviceFacts,
        lease: Lease,
        files: Mapping[str, Path],
        folder: Path,
        provision: Provision,
        cpus: list[int],
    ) -> tuple[str, Sampling]:
        """Its id on the phone. Every try has its own: nobody knows what one that was cut has started, and the next
        sweeps it away."""
        resumes = 0
        while True:
            attempt = f"{lease.attempt_id}-{secrets.token_hex(4)}"
            held.attempts.add(attempt)
            try:
                sampling = await held.meters.begin(lease, attempt, held.here(), cpus, facts, held.readings)
                await attempts.launch(held, attempt, lease, files, folder, provision, cpus, sampling)
                return attempt, sampling
            except BaseException as error:
                held.attempts.discard(attempt)
                self._go(held.meters.drop(attempt))
                if not isinstance(error, LinkLost | OutputCut) or resumes == _RESUMES:
                    raise
                log.warning("%s: %s; it is waited for", held.id, error)
            resumes += 1
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                await asyncio.wait_for(held.back(), _AWAY_SECONDS)
            except TimeoutError:
                raise self._places.away(held.id, f"for {_AWAY_SECONDS:g} s while it was prepared") from None

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        begun = _Handle.read(handle)
        held, attempt = self._places.handset(begun.device), begun.attempt
        held.attempts.add(attempt)
        limit_seconds = lease.timeout_seconds + 2 * begun.idle_seconds
        troubles: list[FarmError] = []
        try:
            async with asyncio.timeout(limit_seconds):
                end = await self._fetched(held, attempt, lease, folder, limit_seconds, troubles)
        except TimeoutError:
            error = await self._overdue(held, attempt, lease, folder, troubles)
            self.kill(handle)
            raise error from None
        held.attempts.discard(attempt)
        recorded = await held.meters.end(attempt, held.phone) if begun.idle_seconds else None
        async with held.lock:
            await self._tidied(held, locked=True)
        if end == "gone":
            raise InfrastructureError(
                f"{held.id} has nothing of the attempt any more.", remedy="Its storage was cleared; it is tried again."
            )
        if end == "full":
            raise DeviceError(
                f"The storage of {held.id} was full when its attempt ended.", remedy="Free storage on it."
            )
        read = held.meters.readout(folder, begun.facts, recorded, rested=begun.idle_seconds > 0)
        measured = self._measurement(lease, begun, folder, end, read.telemetry)
        absent = dict(measured.absent)
        if refusal := read.energy_absent or begun.energy_absent:
            absent["energy"] = refusal
        return measured.model_copy(update={"power": read.power, "absent": absent})

    def _measurement(self, lease: Lease, begun: _Handle, folder: Path, end: str, telemetry: Telemetry) -> Measurement:
        if not lease.scenario.native:
            return outcome.measurement(lease, folder, _exit_code(end), telemetry)
        return self._stock.tools.read(
            lease,
            begun.facts.abi,
            f"{ATTEMPTS}/{begun.attempt}",
            folder,
            started_at=outcome.started_at(folder),
            telemetry=telemetry,
        )

    async def _fetched(
        self,
        held: Handset,
        attempt: str,
        lease: Lease,
        folder: Path,
        timeout_seconds: float,
        troubles: list[FarmError],
    ) -> str:
        """However often the phone goes away meanwhile. ``troubles``: is given why it was not fetched so far."""
        while True:
            await held.back()
            try:
                return await attempts.fetch(held, attempt, lease, folder, timeout_seconds)
            except (LinkLost, OutputCut) as error:
                log.info("%s: %s", held.id, error)
                troubles.append(error)
            except InfrastructureError:
                if held.phone is not None:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _overdue(
        self, held: Handset, attempt: str, lease: Lease, folder: Path, troubles: list[FarmError]
    ) -> FarmError:
        """Why it has not ended in its time."""
        if held.phone is None:
            return self._places.away(held.id, f"when its attempt's {lease.timeout_seconds:g} s were over")
        if lease.scenario.native:
            return DeviceError(
                f"The native tool was killed after {lease.timeout_seconds:g} s.",
                remedy="It makes min_warmup_runs + min_samples runs: lower these, or raise timeout_seconds.",
            )
        try:
            if await attempts.glimpse(held, attempt, folder) and troubles:
                return troubles[-1]
        except (LinkLost, DeviceTimeout, OutputCut) as error:
            return error
        return outcome.too_long(lease, folder)

    def kill(self, handle: str) -> None:
        begun = _Handle.read(handle)
        held = self._places.handset(begun.device)
        self._abandon(held, begun.attempt)

    def _abandon(self, held: Handset, attempt: str) -> None:
        held.attempts.discard(attempt)
        self._go(held.meters.drop(attempt))
        self._go(self._tidied(held))

    async def _tidied(self, held: Handset, *, locked: bool = False) -> None:
        """After an attempt. A phone that is away is tidied when it is back, an emulator is put back."""
        try:
            async with contextlib.nullcontext() if locked else held.lock:
                if held.phone is not None:
                    await held.tidy()
                if not held.attempts:
                    await self._keeper.reset(held.id)
        except FarmError as error:
            log.warning("%s could not be tidied now: %s", held.id, error)
        self._places.show()

    # --- health ---------------------------------------------------------------------------------------

    async def check(self, device_id: str) -> str:
        place = self._places.of(device_id)
        held = self._places.handset(device_id)
        bundle = self._stock.bundle(place.facts.abi)
        async with held.lock:
            return await phonecheck.run(held, bundle)

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        held = self._places.handset(device_id)
        place = self._places.listed(device_id)
        if place is None:
            await held.back()  # after its power was cut, say
            return
        async with held.lock:
            await phonecheck.recover(held, place.server, place.seen.serial, step)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _server(address: str) -> Server:
    host, _, port = address.rpartition(":")
    return Server(host, int(port))


def _exit_code(end: str) -> int | None:
    """As of a process of our own: negative where a signal ended it, None where nobody knows."""
    if not end.isdecimal():
        return None
    return 128 - int(end) if int(end) > 128 else int(end)
