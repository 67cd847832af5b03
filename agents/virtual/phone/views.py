"""The phone's files of /sys, as text: pure. Paths are the phone's."""

from __future__ import annotations

from collections.abc import Sequence

from agents.virtual.phone.physics import State
from agents.virtual.phone.profile import Profile
from agents.virtual.phone.readouts import Reading, cooling_step

BATTERY = "/sys/class/power_supply/battery"
CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"
RAILS = "/sys/bus/iio/devices/iio:device0"
STATUS_NAMES = {2: "Charging", 3: "Discharging", 4: "Not charging", 5: "Full"}
ZONE_SCALE = {"milli": 1000, "deci": 10, "unit": 1}


def fixed(profile: Profile, cpus: Sequence[int]) -> dict[str, str]:
    """What never changes."""
    listed = f"{ranges(cpus)}\n"
    files = {f"{CPU}/{name}": listed for name in ("online", "possible", "present")}
    first = 0
    for cluster in profile.clusters:
        members = cpus[first : first + cluster.cores]
        first += cluster.cores
        for cpu in members:
            folder = f"{CPU}/cpu{cpu}"
            related = " ".join(map(str, members)) + "\n"
            files |= {
                f"{folder}/cpu_capacity": f"{cluster.capacity}\n",
                f"{folder}/cpufreq/cpuinfo_max_freq": f"{cluster.max_khz}\n",
                f"{folder}/cpufreq/cpuinfo_min_freq": f"{cluster.steps_khz[0]}\n",
                f"{folder}/cpufreq/scaling_min_freq": f"{cluster.steps_khz[0]}\n",
                f"{folder}/cpufreq/scaling_available_frequencies": " ".join(map(str, cluster.steps_khz)) + "\n",
                f"{folder}/cpufreq/scaling_governor": "schedutil\n",
                f"{folder}/cpufreq/related_cpus": related,
                f"{folder}/cpufreq/affected_cpus": related,
            }
    for number, (name, _) in enumerate(_zones(profile, None)):
        files[f"{THERMAL}/thermal_zone{number}/type"] = f"{name}\n"
    for number, cluster in enumerate(profile.clusters):
        files[f"{THERMAL}/cooling_device{number}/type"] = f"thermal-cpufreq-{number}\n"
        files[f"{THERMAL}/cooling_device{number}/max_state"] = f"{len(cluster.steps_khz) - 1}\n"
    files[f"{BATTERY}/technology"] = "Li-ion\n"
    files[f"{BATTERY}/present"] = "1\n"
    if profile.rails:
        files[f"{RAILS}/name"] = "s2mpg-odpm\n"
    return files


def current(
    profile: Profile, cpus: Sequence[int], state: State, battery: Reading, resident_seconds: Sequence[Sequence[float]]
) -> dict[str, str]:
    """What does. ``resident_seconds``: of each cluster, the time it spent at each of its steps."""
    files: dict[str, str] = {}
    first = 0
    for index, cluster in enumerate(profile.clusters):
        clock, cap = (round(ratio * cluster.max_khz) for ratio in (state.clocks[index], state.caps[index]))
        steps = zip(cluster.steps_khz, resident_seconds[index], strict=True)
        resident = "".join(f"{step} {round(seconds * 100)}\n" for step, seconds in steps)
        for cpu in cpus[first : first + cluster.cores]:
            folder = f"{CPU}/cpu{cpu}/cpufreq"
            files[f"{folder}/scaling_cur_freq"] = f"{clock}\n"
            files[f"{folder}/scaling_max_freq"] = f"{cap}\n"
            files[f"{folder}/stats/time_in_state"] = resident
        first += cluster.cores
        files[f"{THERMAL}/cooling_device{index}/cur_state"] = f"{cooling_step(profile, state, index)}\n"
    scale = ZONE_SCALE[profile.thermal.zone_unit]
    for number, (_, celsius) in enumerate(_zones(profile, state)):
        files[f"{THERMAL}/thermal_zone{number}/temp"] = f"{round(celsius * scale)}\n"
    files |= {
        f"{BATTERY}/current_now": f"{battery.current}\n",
        f"{BATTERY}/voltage_now": f"{battery.voltage_mv * 1000}\n",
        f"{BATTERY}/temp": f"{battery.tenths_celsius}\n",
        f"{BATTERY}/charge_counter": f"{battery.counter_uah}\n",
        f"{BATTERY}/capacity": f"{battery.level}\n",
        f"{BATTERY}/status": f"{STATUS_NAMES[battery.status]}\n",
    }
    return files


def rails(profile: Profile, state: State, since_boot_seconds: float) -> str:
    """``energy_value`` of the power monitor: microjoules since boot."""
    milliseconds = round(since_boot_seconds * 1000)
    joules = dict(zip((cluster.name for cluster in profile.clusters), state.cluster_joules, strict=True))
    lines = [f"t={milliseconds}"]
    for number, rail in enumerate(profile.rails):
        energy = joules.get(rail.cluster, 0.0) if rail.cluster else profile.idle_watts * since_boot_seconds
        lines.append(f"CH{number}(T={milliseconds})[{rail.name}], {round(energy * 1e6)}")
    return "\n".join(lines) + "\n"


def denied(profile: Profile) -> set[str]:
    """Paths, and beginnings of paths, that the shell may not read."""
    files = {
        f"{THERMAL}/thermal_zone" if name == "thermal_zone" else f"{BATTERY}/{name}" for name in profile.battery.denied
    }
    if profile.properties.get("ro.build.type") == "user":
        files.add(f"{RAILS}/energy_value")
    return files


def ranges(numbers: Sequence[int]) -> str:
    """``0-3,6``"""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _zones(profile: Profile, state: State | None) -> list[tuple[str, float]]:
    values = (state.soc_celsius, state.battery_celsius, state.skin_celsius) if state else (0.0, 0.0, 0.0)
    return list(zip(("soc", "battery", "skin"), values, strict=True))
