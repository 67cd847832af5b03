"""Which devices a selector comes to. Where its quantifier leaves a choice, so that the choice can be made again until
a device starts: a pool of those to choose from, and slots in it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farm.errors import SelectorError
from farm.selectors import Quantifier, Selector, Term, values_of
from farm.types import Device, DeviceHealth, DeviceState

_SHOWN = 5


@dataclass(frozen=True)
class Exclusion:
    """What one term alone keeps out. ``found`` are the values those devices have instead."""

    term: Term
    devices: tuple[str, ...]
    of: int
    found: tuple[str, ...]

    @property
    def instead(self) -> str:
        has = ", ".join(self.found[:_SHOWN]) + (", ..." if len(self.found) > _SHOWN else "") or "nothing"
        return f"{self.term.key} there: {has}"

    def __str__(self) -> str:
        shown = ", ".join(self.devices[:_SHOWN]) + (", ..." if len(self.devices) > _SHOWN else "")
        return f"{self.term} excludes {len(self.devices)} of {self.of} ({shown}; {self.instead})"


@dataclass(frozen=True)
class Pick:
    """Where a slot starts; without a pool it stays there."""

    device: Device
    pool: int | None = None
    slot: int = 0


@dataclass(frozen=True)
class Selection:
    """``picks`` are ordered by device, ``pools`` numbered from 1 on."""

    picks: tuple[Pick, ...]
    pools: Mapping[int, tuple[str, ...]]


def explain(selector: Selector, devices: Sequence[Device]) -> list[Exclusion]:
    """Per term that excludes any device: which, looked at without the other terms."""
    exclusions = []
    for term in selector.terms:
        out = [device for device in devices if not term.matches(device)]
        found = sorted({value for device in out for value in values_of(device, term.key)})
        if out:
            exclusions.append(Exclusion(term, tuple(device.id for device in out), len(devices), tuple(found)))
    return exclusions


def matching(selector: Selector, devices: Sequence[Device]) -> list[Device]:
    """All that match, ordered by id. Raises SelectorError when none does, or too few for ``any(n)``."""
    found = sorted((device for device in devices if selector.matches(device)), key=lambda device: device.id)
    if not found or len(found) < selector.quantifier.count:
        raise _too_few(selector, devices, found)
    return found


def choose(quantifier: Quantifier, devices: Sequence[Device], rng: random.Random) -> Selection:
    """Of at least as many devices as the quantifier asks for. Devices in service go first, else chance decides."""
    if quantifier.kind == "each":
        return Selection(tuple(map(Pick, devices)), {})
    groups: dict[tuple[str, ...], list[Device]] = {}
    for device in devices:
        groups.setdefault(values_of(device, quantifier.key) if quantifier.kind == "one per" else (), []).append(device)
    wanted = quantifier.count if quantifier.kind == "any" else 1
    picks: list[Pick] = []
    pools: dict[int, tuple[str, ...]] = {}
    for group in groups.values():
        first = sorted(rng.sample(group, len(group)), key=lambda device: bool(out_of_service(device)))[:wanted]
        chosen = [Pick(device) for device in sorted(first, key=lambda device: device.id)]
        if len(group) > wanted:
            number = len(pools) + 1
            pools[number] = tuple(device.id for device in group)
            chosen = [replace(pick, pool=number, slot=slot) for slot, pick in enumerate(chosen)]
        picks += chosen
    return Selection(tuple(sorted(picks, key=lambda pick: pick.device.id)), pools)


def out_of_service(device: Device) -> str:
    """Why no job can start on it until somebody sees to it; empty if one can."""
    if device.state is DeviceState.MAINTENANCE or device.maintenance is not None:
        return f"in maintenance ({device.maintenance})" if device.maintenance else "in maintenance"
    if device.health is DeviceHealth.BAD:
        return f"bad ({device.health_reason})" if device.health_reason else "bad"
    return "offline" if device.state is DeviceState.OFFLINE else ""


def _too_few(selector: Selector, devices: Sequence[Device], found: Sequence[Device]) -> SelectorError:
    if not devices:
        return SelectorError("The farm has no devices.", remedy="Start an agent: `farm agent`, or `farm up`.")
    exclusions = explain(selector, devices)
    if found:
        what = f"The selector {selector} wants {selector.quantifier.count} devices, and {len(found)} match."
    else:
        alone = [f"{each.term} ({each.instead})" for each in exclusions if len(each.devices) == each.of]
        terms = " or ".join(alone) or f"all of {', '.join(map(str, selector.terms))}"
        what = f"No device of this farm, online or not, has ever matched {terms}."
    return SelectorError(
        "\n".join([what, *(f"  {exclusion}" for exclusion in exclusions)]),
        remedy="Loosen it; `farm devices` shows what there is.",
        details={"excluded": {str(exclusion.term): list(exclusion.devices) for exclusion in exclusions}},
    )
