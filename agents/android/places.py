"""Which phones and emulators an agent has, where they are plugged in, and what is known of each."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path

from agents.android import adb, handset
from agents.android.adb import Seen, Server
from agents.android.handset import Handset
from agents.android.keeper import Keeper
from agents.android.link import AdbPhone
from agents.android.roster import Roster
from agents.android.stock import Stock
from agents.meters.beside import Beside
from farm.config import Settings
from farm.errors import FarmError, LinkLost
from farm.types import Device, DeviceFacts, DeviceReadings, DeviceState

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_UNKNOWN = DeviceFacts(
    platform="android",
    device_model="unknown",
    soc="unknown",
    abi="unknown",
    os_version="unknown",
    memory_bytes=0,
    cpu_count=0,
)


@dataclass
class Place:
    """A line of an adb server's list, and what came of it. ``avd``: where it is an emulator of ours."""

    server: Server
    seen: Seen
    device_id: str
    facts: DeviceFacts = _UNKNOWN
    avd: str = ""
    problem: str = ""  # why it cannot be used, beside its state
    task: asyncio.Task[None] | None = field(default=None, compare=False)


class Places:
    """Looks for them while it is open: from inside an event loop on, until ``close``. ``shown``: what a driver's
    ``discover`` answers, the same object while nothing has changed."""

    def __init__(
        self, settings: Settings, folder: Path, servers: tuple[Server, ...], stock: Stock, keeper: Keeper
    ) -> None:
        self._settings, self._folder, self._stock, self._keeper = settings, folder, stock, keeper
        self._places: dict[tuple[str, str], Place] = {}
        self._handsets: dict[str, Handset] = {}
        self._known = _Known(folder / "known.json")
        self._meters = {
            handset.device_id("", serial, serial, emulator=False): Beside(setting)
            for serial, setting in settings.agent_power_meters.items()
        }
        self.shown: tuple[Device, ...] = ()
        keeper.open(self.show)
        self._roster = Roster(servers, self._take)
        self._refreshing = asyncio.create_task(self._refresh())
        self.show()

    async def close(self) -> None:
        tasks = [self._refreshing, *(place.task for place in self._places.values() if place.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._roster.close()
        for meter in self._meters.values():
            await meter.close()
        await self._keeper.close()

    def handset(self, device_id: str) -> Handset:
        if device_id not in self._handsets:
            self._handsets[device_id] = Handset(device_id, self._folder, self._meters.get(device_id))
        return self._handsets[device_id]

    def listed(self, device_id: str) -> Place | None:
        """Whether or not it can be used there."""
        return next((place for place in self._places.values() if place.device_id == device_id), None)

    def of(self, device_id: str) -> Place:
        """Raises LinkLost where it is not here, or not as it should be."""
        held = self._handsets.get(device_id)
        for place in self._places.values():
            if place.device_id == device_id and held and held.phone and held.phone.serial == place.seen.serial:
                return place
        raise self.away(device_id, "when the job was to start")

    def away(self, device_id: str, when: str) -> LinkLost:
        """With why, where that is known."""
        shown = next((device for device in self.shown if device.id == device_id), None)
        why = f": it is {shown.blocked.rstrip('.')}" if shown and shown.blocked else ""
        return LinkLost(
            f"{device_id} was away {when}{why}.", remedy="Plug it in or switch it on again; the job is tried again."
        )

    def show(self) -> None:
        """Of one phone by two ways the one that is in use counts, else the one that is better off."""
        shown: dict[str, Device] = {}
        for place in sorted(self._places.values(), key=lambda place: (place.problem, place.seen.state != "device")):
            if place.seen.state == "device" and place.facts is _UNKNOWN and not self._problem(place):
                continue  # it is being looked at: a moment
            shown.setdefault(place.device_id, self._device(place))
        for avd in self._keeper.avds:
            id = self._keeper.device_id(avd)
            facts = self._known.of(f"avd:{avd}")[1]
            shown.setdefault(id, self._described(id, facts, blocked=self._keeper.problem(avd) or "not attached"))
        devices = tuple(shown[id] for id in sorted(shown))
        if devices != self.shown:
            self.shown = devices

    def _take(self, server: Server, listed: tuple[Seen, ...]) -> None:
        """All that a server has now."""
        now = {(str(server), seen.serial): seen for seen in listed}
        for key in [key for key in self._places if key[0] == str(server) and now.get(key) != self._places[key].seen]:
            self._forget(self._places.pop(key))
        for key, seen in now.items():
            if key not in self._places:
                avd = self._keeper.avd_of(server, seen.serial)
                device_id, facts = self._known.of(f"avd:{avd}" if avd else seen.serial)
                guessed = handset.device_id("", seen.serial, "", emulator=False)
                place = Place(server, seen, device_id or guessed, facts, avd)
                self._places[key] = place
                if seen.state == "device":
                    place.task = asyncio.create_task(self._attach(place))
        self.show()

    def _forget(self, place: Place) -> None:
        if place.task:
            place.task.cancel()
        held = self._handsets.get(place.device_id)
        if held and held.phone and held.phone.serial == place.seen.serial and held.phone.server is place.server:
            held.detach()

    async def _attach(self, place: Place) -> None:
        """Until it is known what it is, then see to it that nothing of ours is left there but what is known."""
        phone = AdbPhone(place.server, place.seen.serial)
        while True:
            try:
                if place.avd:
                    await self._keeper.booted(place.avd)
                await self._identify(place, phone)
                held = self.handset(place.device_id)
                if held.phone is not None:
                    place.problem = f"it is attached as {held.phone.serial}, too"
                    break
                place.problem = ""
                self._known.note(f"avd:{place.avd}" if place.avd else phone.serial, place.device_id, place.facts)
                await self._stock.look(place.facts.abi)
                held.attach(phone)
                async with held.lock:
                    await held.tidy()
                    await held.meters.prepare(phone)
                break
            except FarmError as error:
                place.problem = error.message
                log.warning("%s: %s", place.seen.serial, error)
                self.show()
                await asyncio.sleep(_RETRY_SECONDS)
        self.show()

    async def _identify(self, place: Place, phone: AdbPhone) -> None:
        place.facts, own_serial = await handset.identify(phone)
        if place.avd:
            place.device_id = self._keeper.device_id(place.avd)
        else:
            place.device_id = handset.device_id(
                self._settings.agent_name, place.seen.serial, own_serial, emulator=place.facts.emulator
            )

    async def _refresh(self) -> None:
        """Readings of phones that lie idle; one that measures is left in peace."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            for held in [held for held in self._handsets.values() if held.phone and not held.attempts]:
                try:
                    async with held.lock:
                        if not held.attempts and held.phone:
                            await held.tidy()
                except FarmError as error:
                    log.warning("%s: %s", held.id, error)
            await self._stock.refresh()
            self.show()

    def _problem(self, place: Place) -> str:
        return (self._keeper.problem(place.avd) if place.avd else "") or place.problem

    def _device(self, place: Place) -> Device:
        if place.seen.state != "device":
            blocked = (
                self._keeper.problem(place.avd) if place.avd else ""
            ) or f"{place.seen.state}: {adb.advice(place.seen.state)}"
            return self._described(place.device_id, place.facts, blocked=blocked)
        if problem := self._problem(place):
            return self._described(place.device_id, place.facts, DeviceReadings(), blocked=problem)
        held = self.handset(place.device_id)
        if held.phone is None:
            blocked = "it was just plugged in, and is being looked at"
        else:
            blocked = self._stock.lack(place.facts.abi) or self._obstacle(held.readings)
        return self._described(place.device_id, place.facts, held.readings, blocked=blocked)

    def _described(
        self, device_id: str, facts: DeviceFacts, readings: DeviceReadings | None = None, *, blocked: str
    ) -> Device:
        return Device(
            id=device_id,
            agent=self._settings.agent_name,
            host=socket.gethostname(),
            facts=self._stock.equipped(facts),
            blocked=blocked,
            readings=readings,
            recovery=("reconnect", "reboot"),
            state=DeviceState.ONLINE,
        )

    def _obstacle(self, readings: DeviceReadings) -> str:
        settings = self._settings
        return handset.obstacle(
            readings,
            max_start_celsius=settings.agent_phone_max_start_celsius,
            min_battery_ratio=settings.agent_phone_min_battery_ratio,
            max_thermal_status=settings.agent_phone_max_start_thermal_status,
        )


class _Known:
    """Phones that were here before, by what adb called them: so that one that is locked or offline is shown as what it
    is, under its own id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phones: dict[str, tuple[str, DeviceFacts]] = {}
        try:
            for serial, (device_id, facts) in json.loads(path.read_text()).items():
                self._phones[serial] = device_id, DeviceFacts.model_validate(facts)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read, phones are met anew: %s", path, error)

    def of(self, serial: str) -> tuple[str, DeviceFacts]:
        return self._phones.get(serial, ("", _UNKNOWN))

    def note(self, serial: str, device_id: str, facts: DeviceFacts) -> None:
        if self._phones.get(serial) == (device_id, facts):
            return
        self._phones[serial] = device_id, facts
        content = {serial: (id, facts.model_dump(mode="json")) for serial, (id, facts) in self._phones.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(content))
            part.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)
