"""How a virtual phone's battery, heat and clocks behave: pure functions of a profile and a state.

Nothing here reads a clock. docs/virtual-phone.md explains the equations and says where the constants come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from agents.virtual.phone.profile import Battery, Cluster, Profile, Thermal

MOST_STEP_SECONDS = 0.25  # of the heat's integration
SCHEDUTIL_MARGIN = 1.25  # Documentation/scheduler/schedutil.rst
TAPER_RATIO = 0.8  # from this charge on, the charger's power falls
LOWEST_CHARGE = 0.001
# Open-circuit voltage of a lithium-ion cell (graphite, cobalt oxide, 4.4 V) by its charge.
OPEN_CIRCUIT = ((0.0, 3.30), (0.05, 3.55), (0.2, 3.70), (0.5, 3.83), (0.8, 4.11), (0.95, 4.30), (1.0, 4.40))


@dataclass(frozen=True)
class State:
    """``current_amperes`` is positive out of the battery. ``caps`` and ``clocks`` are ratios of each cluster's
    maximum."""

    charge_ratio: float
    soc_celsius: float
    skin_celsius: float
    battery_celsius: float
    caps: tuple[float, ...]
    clocks: tuple[float, ...]
    system_watts: float
    cluster_watts: tuple[float, ...]
    cluster_joules: tuple[float, ...]
    current_amperes: float
    voltage_volts: float
    charging: bool


def rested(profile: Profile, ambient_celsius: float, charge_ratio: float) -> State:
    clusters = profile.clusters
    return State(
        charge_ratio=charge_ratio,
        soc_celsius=ambient_celsius,
        skin_celsius=ambient_celsius,
        battery_celsius=ambient_celsius,
        caps=(1.0,) * len(clusters),
        clocks=tuple(cluster.steps_khz[0] / cluster.max_khz for cluster in clusters),
        system_watts=profile.idle_watts,
        cluster_watts=(0.0,) * len(clusters),
        cluster_joules=(0.0,) * len(clusters),
        current_amperes=0.0,
        voltage_volts=open_circuit_volts(charge_ratio),
        charging=False,
    )


def open_circuit_volts(charge_ratio: float) -> float:
    """Linear between the points of ``OPEN_CIRCUIT``."""
    charge = min(1.0, max(0.0, charge_ratio))
    for (low, low_volts), (high, high_volts) in pairwise(OPEN_CIRCUIT):
        if charge <= high:
            return low_volts + (charge - low) / (high - low) * (high_volts - low_volts)
    return OPEN_CIRCUIT[-1][1]


def current_amperes(open_volts: float, resistance_ohms: float, watts: float) -> float:
    """What gives ``watts`` (negative: takes) at the terminals: P = (V0 - I R) I, the smaller root.

    More than the cell can give yields the most that it can, V0 / 2R.
    """
    root = open_volts**2 - 4 * resistance_ohms * watts
    return (open_volts - math.sqrt(max(0.0, root))) / (2 * resistance_ohms)


def charger_watts(battery: Battery, charge_ratio: float) -> float:
    """Constant, then falling with what is missing."""
    return battery.charger_watts * min(1.0, max(0.0, (1 - charge_ratio) / (1 - TAPER_RATIO)))


def clock_ratio(cluster: Cluster, load: float, cap: float) -> float:
    """What schedutil asks for (``load`` is the busiest core's share of its time at the current cap), as a step."""
    wanted_khz = min(cap, SCHEDUTIL_MARGIN * load * cap) * cluster.max_khz
    below_cap = [step for step in cluster.steps_khz if step <= cap * cluster.max_khz + 0.5] or [cluster.steps_khz[0]]
    return next((step for step in below_cap if step >= wanted_khz), below_cap[-1]) / cluster.max_khz


def cluster_watts(cluster: Cluster, loads: Sequence[float], clock: float) -> float:
    """Dynamic power of CMOS with a voltage that follows the clock: proportional to its third power."""
    return sum(loads) * cluster.core_watts * clock**3


def cap_ratio(cluster: Cluster, thermal: Thermal, soc_celsius: float, skin_celsius: float) -> float:
    """The step that the hotter of SoC and skin leaves: all below its trip point, the lowest at its limit."""
    over = max(
        (soc_celsius - thermal.soc_trip_celsius) / (thermal.soc_limit_celsius - thermal.soc_trip_celsius),
        (skin_celsius - thermal.skin_trip_celsius) / (thermal.skin_limit_celsius - thermal.skin_trip_celsius),
    )
    lowest = cluster.steps_khz[0]
    allowed_khz = cluster.max_khz - (cluster.max_khz - lowest) * min(1.0, max(0.0, over))
    return max(step for step in cluster.steps_khz if step <= max(allowed_khz, lowest)) / cluster.max_khz


def advance(
    profile: Profile,
    state: State,
    seconds: float,
    loads: Sequence[Sequence[float]],
    *,
    ambient_celsius: float,
    plugged: bool,
) -> State:
    """The state after ``seconds`` with these loads: of each core in each cluster, the share of the time it was busy."""
    thermal, battery = profile.thermal, profile.battery
    clocks = tuple(
        clock_ratio(cluster, max(load, default=0.0), cap)
        for cluster, load, cap in zip(profile.clusters, loads, state.caps, strict=True)
    )
    watts = tuple(
        cluster_watts(cluster, load, clock)
        for cluster, load, clock in zip(profile.clusters, loads, clocks, strict=True)
    )
    system = profile.idle_watts + sum(watts)
    open_volts = open_circuit_volts(state.charge_ratio)
    taken = system - (charger_watts(battery, state.charge_ratio) if plugged else 0.0)
    current = current_amperes(open_volts, battery.resistance_ohms, taken)
    charge = state.charge_ratio - current * seconds / 3.6 / battery.capacity_mah
    heat = current**2 * battery.resistance_ohms
    soc, skin, cell = heated(
        thermal,
        (state.soc_celsius, state.skin_celsius, state.battery_celsius),
        (sum(watts), profile.idle_watts, heat),
        ambient_celsius,
        seconds,
    )
    return replace(
        state,
        charge_ratio=min(1.0, max(LOWEST_CHARGE, charge)),
        soc_celsius=soc,
        skin_celsius=skin,
        battery_celsius=cell,
        caps=tuple(cap_ratio(cluster, thermal, soc, skin) for cluster in profile.clusters),
        clocks=clocks,
        system_watts=system,
        cluster_watts=watts,
        cluster_joules=tuple(total + power * seconds for total, power in zip(state.cluster_joules, watts, strict=True)),
        current_amperes=current,
        voltage_volts=open_volts - current * battery.resistance_ohms,
        charging=plugged and current < 0,
    )


def heated(
    thermal: Thermal,
    celsius: tuple[float, float, float],
    watts: tuple[float, float, float],
    ambient_celsius: float,
    seconds: float,
) -> tuple[float, float, float]:
    """Three heat capacities (SoC, skin, battery), SoC and battery joined to the skin, the skin to the air.

    Explicit Euler, in steps below the fastest time constant's half.
    """
    soc, skin, cell = celsius
    fastest = min(
        thermal.soc_joules_per_kelvin / thermal.soc_watts_per_kelvin,
        thermal.battery_joules_per_kelvin / thermal.battery_watts_per_kelvin,
        thermal.skin_joules_per_kelvin
        / (thermal.soc_watts_per_kelvin + thermal.battery_watts_per_kelvin + thermal.air_watts_per_kelvin),
    )
    count = max(1, math.ceil(seconds / min(MOST_STEP_SECONDS, fastest / 2)))
    step = seconds / count
    for _ in range(count):
        from_soc = thermal.soc_watts_per_kelvin * (soc - skin)
        from_cell = thermal.battery_watts_per_kelvin * (cell - skin)
        to_air = thermal.air_watts_per_kelvin * (skin - ambient_celsius)
        soc += (watts[0] - from_soc) * step / thermal.soc_joules_per_kelvin
        skin += (watts[1] + from_soc + from_cell - to_air) * step / thermal.skin_joules_per_kelvin
        cell += (watts[2] - from_cell) * step / thermal.battery_joules_per_kelvin
    return soc, skin, cell


def thermal_status(thermal: Thermal, skin_celsius: float) -> int:
    """Android's, 0 none to 6 shutdown: how many of the skin's thresholds are passed."""
    return sum(skin_celsius >= threshold for threshold in thermal.status_celsius)
