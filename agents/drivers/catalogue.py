"""Which drivers this agent has: its own, and those that other packages offer as entry points."""

from __future__ import annotations

import importlib.metadata
import logging

from agents.drivers.android import AndroidDriver
from agents.drivers.base import ENTRY_POINTS, Driver
from agents.drivers.host import HostDriver
from agents.virtual.driver import VirtualDriver
from agents.virtual.profile import load_profile
from farm.config import Settings

log = logging.getLogger(__name__)


def drivers(settings: Settings) -> dict[str, Driver]:
    """By name. Raises ConfigError when the virtual fleet's profile cannot be used."""
    found: dict[str, Driver] = {}
    if settings.agent_host_device:
        _add(found, HostDriver(settings.agent_name, settings.state_dir, settings.toolchains_dir))
    if settings.agent_android:
        _add(found, AndroidDriver(settings))
    if settings.agent_virtual_devices:
        profile = load_profile(settings.agent_virtual_profile)
        _add(found, VirtualDriver(settings.agent_name, settings.agent_virtual_devices, profile))
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            driver: Driver | None = entry.load()(settings)
        except Exception:  # somebody else's code; the devices of the other drivers must not suffer
            log.exception("driver %s (%s) cannot be used", entry.name, entry.value)
            continue
        if driver is not None:
            _add(found, driver)
    return found


def _add(found: dict[str, Driver], driver: Driver) -> None:
    if driver.name in found:
        log.error("there are two drivers named %s: the second one is left out", driver.name)
        return
    found[driver.name] = driver
