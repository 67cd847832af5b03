"""The devices: which are here, how they are, and what is done about those that fail. Pure, part of the state machine.

States and health are told apart as LAVA does. A device that appears is checked before it serves. An attempt that the
infrastructure ended makes its device suspect: it is checked again, after ``CHECKS_ONLY`` such failures in a row with a
rung of the recovery ladder before the check, one rung further at every further failure and at every check that fails.
One that its agent holds back (too hot, not authorized) is checked once that is over.
At the end of the ladder the device is bad: it gets no job until it passes a check that a person asks for, that falls
due, or that it gets because it was plugged in anew.
"""

from __future__ import annotations

from collections import defaultdict

from farm.coordinator.events import (
    AgentLost,
    DeviceBlocked,
    DeviceChecked,
    DeviceEvent,
    DeviceFailed,
    DeviceLost,
    DeviceOrdered,
    DeviceRemembered,
    DeviceReserved,
    DeviceSeen,
)
from farm.coordinator.instructions import CheckDevice, Instruction, SetDevice
from farm.coordinator.scheduler import Scheduler
from farm.coordinator.views import DeviceView
from farm.errors import AttemptInterrupted
from farm.types import CheckStep, DeviceHealth, Failure, RecoveryStep

LADDER: tuple[RecoveryStep, ...] = ("reconnect", "power-cycle", "reboot")
CHECKS_ONLY = 2  # failures in a row after which a check is thought to be enough


class Fleet:
    def __init__(self, scheduler: Scheduler) -> None:
        self.devices: dict[str, DeviceView] = {}  # those that jobs wait for among them, heard of or not
        self._scheduler = scheduler
        self._online: defaultdict[str, set[str]] = defaultdict(set)  # agent -> devices
        self._changed: dict[str, DeviceView] = {}
        self._shown: dict[str, SetDevice] = {}
        self._checks: list[CheckDevice] = []

    def __getitem__(self, id: str) -> DeviceView:
        device = self.devices.get(id)
        if device is None:
            device = self.devices[id] = DeviceView(id)
        return device

    def apply(self, event: DeviceEvent) -> None:
        match event:
            case DeviceRemembered():
                self._remember(event)
            case DeviceSeen():
                self._see(event)
            case DeviceLost(id):
                self._lose(id)
            case AgentLost(agent):
                for id in sorted(self._online.pop(agent, ())):
                    self._lose(id)
            case DeviceChecked():
                self._take_check(event)
            case DeviceFailed(id, failure):
                self.fail(self[id], failure)
            case DeviceBlocked(id, reason):
                self[id].blocked = reason
                self.note(self[id])
            case DeviceOrdered():
                self._obey(event)
            case DeviceReserved(id, user):
                self[id].reserved_for = user
                self.note(self[id])

    def instructions(self) -> list[Instruction]:
        """Checks to begin, and devices that look otherwise than when this was asked last."""
        out: list[Instruction] = []
        out += self._checks
        self._checks = []
        for device in self._changed.values():
            shown = SetDevice(
                device.id, device.state, device.health, device.health_reason, device.failures, device.maintenance
            )
            if self._shown.get(device.id) != shown:
                self._shown[device.id] = shown
                out.append(shown)
        self._changed.clear()
        return out

    def note(self, device: DeviceView) -> None:
        """It may look otherwise now, and other things may be possible on it."""
        self._changed[device.id] = device
        self._scheduler.touch(device)

    # --- presence -------------------------------------------------------------------------------------

    def _remember(self, event: DeviceRemembered) -> None:
        device = self[event.id]
        device.health, device.health_reason = event.health, event.health_reason
        device.failures, device.maintenance = event.failures, event.maintenance

    def _see(self, event: DeviceSeen) -> None:
        device = self[event.id]
        known = (device.online, device.agent, device.host, device.blocked, device.recovery)
        if known == (True, event.agent, event.host, event.blocked, event.recovery):
            return
        appeared = not device.online
        self._online[device.agent].discard(device.id)
        self._online[event.agent].add(device.id)
        device.agent, device.host, device.online = event.agent, event.host, True
        device.blocked, device.recovery = event.blocked, event.recovery
        if appeared and not device.holders:
            self._doubt(device, "it has just appeared")
        self.note(device)

    def _lose(self, id: str) -> None:
        """Out of reach. Its lease is not touched: only the lease's end frees a device."""
        device = self.devices.get(id)
        if device is None or not device.online:
            return
        device.online = device.checking = False
        self._online[device.agent].discard(id)
        self.note(device)

    # --- health ---------------------------------------------------------------------------------------

    def succeed(self, device: DeviceView) -> None:
        """It has measured. What is in doubt for another reason (a hook that failed) stays so."""
        if device.health is DeviceHealth.GOOD:
            device.failures = 0
            self.note(device)

    def fail(self, device: DeviceView, failure: Failure) -> None:
        """An attempt, or what was done around it, failed for a reason that may be the device's."""
        if failure.code == AttemptInterrupted.code:  # from outside; nothing is said of the device
            return
        self._doubt(device, failure.message)
        if failure.fault == "infrastructure":
            device.failures += 1
            device.rung = max(0, device.failures - CHECKS_ONLY)
        self.note(device)

    def _obey(self, event: DeviceOrdered) -> None:
        device = self[event.id]
        match event.kind:
            case "drain" | "maintain":
                device.maintenance = event.reason or "no reason given"
            case "resume":
                device.maintenance = None
                self._begin_anew(device)
            case "check":
                self._begin_anew(device)
            case "loop":
                device.health, device.health_reason = DeviceHealth.LOOPING, "has just begun"
        self.note(device)

    def _take_check(self, event: DeviceChecked) -> None:
        device = self[event.id]
        if not device.checking:  # it went away meanwhile, or was told of twice
            return
        device.checking = False
        if device.health is DeviceHealth.LOOPING:
            device.health_reason = f"{'passed' if event.passed else 'failed'}: {event.detail}"
        elif event.passed:
            device.health, device.health_reason, device.rung = DeviceHealth.GOOD, "", 0
        else:
            device.rung += 1
            device.health_reason = event.detail
        self.note(device)

    def check_where_due(self) -> None:
        """Begin the checks that nothing stands in the way of; to be asked once an event is taken in."""
        for device in self._changed.values():
            free = device.online and not device.holders and not device.checking and device.maintenance is None
            if not free or device.blocked or device.health in (DeviceHealth.GOOD, DeviceHealth.BAD):
                continue
            if device.health is DeviceHealth.LOOPING:
                device.checking = True
                self._checks.append(CheckDevice(device.id, "check", looping=True))
            elif step := _step(device):
                device.checking = True
                self._checks.append(CheckDevice(device.id, step))
            else:
                # The ladder is spent; who passes a check later begins anew.
                device.health, device.failures, device.rung = DeviceHealth.BAD, 0, 0

    def _begin_anew(self, device: DeviceView) -> None:
        device.failures = device.rung = 0
        device.health, device.health_reason = DeviceHealth.UNKNOWN, "a check was asked for"

    def _doubt(self, device: DeviceView, reason: str) -> None:
        if device.health is not DeviceHealth.LOOPING:
            device.health, device.health_reason, device.rung = DeviceHealth.UNKNOWN, reason, 0


def _step(device: DeviceView) -> CheckStep | None:
    """What its next check begins with: the next rung that can be taken there. None: there is none left."""
    if not device.rung:
        return "check"
    for rung in range(device.rung, len(LADDER) + 1):
        if LADDER[rung - 1] in device.recovery:
            device.rung = rung
            return LADDER[rung - 1]
    return None
