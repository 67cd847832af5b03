"""What gauge and thermal sensors of a phone read, and how Android's services print that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agents.virtual.phone.physics import State, thermal_status
from agents.virtual.phone.profile import Profile, Thermal

Gauge = Literal["sign", "frozen", "scale"]

STATUS_CHARGING, STATUS_DISCHARGING, STATUS_NOT_CHARGING, STATUS_FULL = 2, 3, 4, 5
LYING_SCALE = 2.5  # of a current whose gauge lies so
MOST_CHARGE = 0.999


@dataclass(frozen=True)
class Reading:
    """The battery as its gauge tells it, which may lie. ``current`` has the profile's unit and sign."""

    level: int
    status: int
    voltage_mv: int
    tenths_celsius: int
    current: int
    counter_uah: int


def reading(profile: Profile, state: State, *, plugged: bool, lying: Gauge | None = None) -> Reading:
    battery = profile.battery
    amperes = state.current_amperes * (-1 if battery.sign == "into_battery" else 1)
    if lying == "sign":
        amperes = -amperes
    if lying == "scale":
        amperes *= LYING_SCALE
    counter = state.charge_ratio * battery.capacity_mah * 1000
    status = STATUS_DISCHARGING
    if plugged:
        status = STATUS_FULL if state.charge_ratio >= MOST_CHARGE else STATUS_CHARGING
        status = STATUS_NOT_CHARGING if status == STATUS_CHARGING and not state.charging else status
    return Reading(
        level=round(state.charge_ratio * 100),
        status=status,
        voltage_mv=round(state.voltage_volts * 1000),
        tenths_celsius=round(state.battery_celsius * 10),
        current=round(amperes * (1000 if battery.unit == "mA" else 1_000_000)),
        counter_uah=int(counter // battery.counter_step_uah * battery.counter_step_uah),
    )


def render_battery(profile: Profile, battery: Reading, plugged: bool, faked: dict[str, int] | None) -> str:
    """BatteryService's dump (AOSP); ``faked`` overlays what ``dumpsys battery set`` and ``unplug`` said."""
    set_ = faked or {}
    usb = set_.get("usb", int(plugged))
    lines = ["Current Battery Service state:"]
    if faked is not None:
        lines.append("  (UPDATES STOPPED -- use 'reset' to restart)")
    for name, value in (("AC", set_.get("ac", 0)), ("USB", usb), ("Wireless", set_.get("wireless", 0))):
        lines.append(f"  {name} powered: {'true' if value else 'false'}")
    lines += [
        f"  Max charging current: {500000 if plugged else 0}",
        f"  Max charging voltage: {5000000 if plugged else 0}",
        f"  Charge counter: {set_.get('counter', battery.counter_uah)}",
        f"  status: {set_.get('status', battery.status)}",
        "  health: 2",
        "  present: true",
        f"  level: {set_.get('level', battery.level)}",
        "  scale: 100",
        f"  voltage: {battery.voltage_mv}",
        f"  temperature: {set_.get('temp', battery.tenths_celsius)}",
        "  technology: Li-ion",
    ]
    if profile.battery.dumpsys == "samsung":
        into = battery.current  # already in the profile's sign and unit
        lines += [f"  current now: {into}", f"  charge counter: {battery.counter_uah}", "FEATURE_WIRELESS: true", ""]
    return "\n".join(lines) + "\n"


def render_thermal(profile: Profile, state: State, faked_status: int | None) -> str:
    """ThermalManagerService's dump (AOSP). The cached block says the same as the other."""
    thermal = profile.thermal
    status = thermal_status(thermal, state.skin_celsius)
    shown = status if faked_status is None else faked_status
    sensors = [(f"CPU{index}", 0, state.soc_celsius + index * 0.4) for index in range(len(profile.clusters))]
    sensors += [("battery", 2, state.battery_celsius), ("skin", 3, state.skin_celsius)]
    now = [
        f"{thermal.indent}Temperature{{mValue={_celsius(thermal, value)}, mType={kind}, mName={name}, "
        f"mStatus={status if kind == 3 else 0}}}"
        for name, kind, value in sensors
    ]
    cooling = [
        f"{thermal.indent}CoolingDevice{{mValue={cooling_step(profile, state, index)}, mType=2, "
        f"mName=thermal-cpufreq-{index}}}"
        for index in range(len(profile.clusters))
    ]
    lines = [f"IsStatusOverride: {str(faked_status is not None).lower()}", f"Thermal Status: {shown}"]
    lines += ["Cached temperatures:", *now, "HAL Ready: true"]
    lines += ["HAL connection:", f"{thermal.indent}ThermalHAL AIDL 1 connected: yes"]
    lines += ["Current temperatures from HAL:", *now, "Current cooling devices from HAL:", *cooling]
    return "\n".join(lines) + "\n"


def cooling_step(profile: Profile, state: State, index: int) -> int:
    """How many of a cluster's steps are taken away; on emulators the constant that they show."""
    if profile.emulator:
        return 100
    cluster = profile.clusters[index]
    return sum(step > state.caps[index] * cluster.max_khz + 0.5 for step in cluster.steps_khz)


def _celsius(thermal: Thermal, value: float) -> str:
    return f"{value:.{thermal.decimals}f}" if thermal.decimals is not None else f"{value:.6g}"
