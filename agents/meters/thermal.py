"""Temperature of a Linux host: the hottest CPU thermal zone or hwmon sensor in sysfs."""

from __future__ import annotations

from pathlib import Path

SYSFS = Path("/sys/class")
_CPU_ZONE_WORDS = ("cpu", "pkg", "soc", "core", "acpitz")
_CPU_HWMON_NAMES = ("coretemp", "k10temp", "zenpower", "cpu_thermal")


class TemperatureUnreadable(Exception):
    """This machine does not show a CPU temperature; the text says why."""


def read_temperature_celsius(sysfs: Path = SYSFS) -> float:
    """Raises TemperatureUnreadable with the reason. Both kinds of file hold millidegrees Celsius."""
    files = [
        zone / "temp"
        for zone in sorted((sysfs / "thermal").glob("thermal_zone*"))
        if any(word in _text(zone / "type").lower() for word in _CPU_ZONE_WORDS)
    ]
    for chip in sorted((sysfs / "hwmon").glob("hwmon*")):
        if _text(chip / "name").strip() in _CPU_HWMON_NAMES:
            files.extend(sorted(chip.glob("temp*_input")))
    if not files:
        raise TemperatureUnreadable("no CPU thermal zone or hwmon sensor (usual inside a virtual machine)")
    try:
        return max(int(file.read_text()) for file in files) / 1000
    except (OSError, ValueError) as error:
        raise TemperatureUnreadable(f"the CPU temperature cannot be read: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
