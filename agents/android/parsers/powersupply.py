"""``/sys/class/power_supply/*``: the battery gauge's own files (kernel documentation, ABI/testing/sysfs-class-power).

The kernel asks for uA and uV; vendors keep to it for some files. A voltage tells its unit by its size. A current does
not tell its sign: that is what ``agents.android.calibration`` is for.
"""

from __future__ import annotations

from agents.android.parsers.absent import Absent, integer
from agents.android.parsers.battery import COULOMBS_PER_MICROAMPERE_HOUR


def current(text: str) -> int | Absent:
    """``current_now`` as it stands there, in whatever unit and sign the vendor chose."""
    return _within(text, "current_now", -50_000_000, 50_000_000)


def volts(text: str) -> float | Absent:
    """``voltage_now`` of one to four cells, in uV or mV."""
    value = _within(text, "voltage_now", 2_000, 20_000_000)
    if isinstance(value, Absent):
        return value
    if 20_000 < value < 2_000_000:
        return Absent(f"voltage_now is {value}, which is no phone's in uV nor in mV")
    return value / (1e6 if value >= 2_000_000 else 1e3)


def celsius(text: str) -> float | Absent:
    """``temp``, in tenths of a degree."""
    value = _within(text, "temp", -600, 1500)
    return value if isinstance(value, Absent) else value / 10


def charge_coulombs(text: str) -> float | Absent:
    """``charge_counter`` or ``charge_now``, in uAh. Zero is what drivers without a counter answer."""
    value = _within(text, "charge_counter", 1, 10**9)
    return value if isinstance(value, Absent) else value * COULOMBS_PER_MICROAMPERE_HOUR


def _within(text: str, name: str, low: int, high: int) -> int | Absent:
    value = integer(text)
    if isinstance(value, Absent):
        return Absent(f"{name}: {value.why}")
    return value if low <= value <= high else Absent(f"{name} is {value}, which no phone has")
