"""Which way a phone's ``current_now`` counts and in what unit: nothing but a trial tells (uA or mA, either sign)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from agents.android.parsers.absent import Absent
from agents.android.parsers.battery import CHARGING, DISCHARGING
from farm.types import Frozen

# What a phone takes that is switched on. 0.1 to 20 W tell uA from mA without overlap.
MIN_WATTS, MAX_WATTS = 0.1, 20.0
MICROAMPERES, MILLIAMPERES = 1e-6, 1e-3
LEAST_READINGS = 5  # of each kind
MAX_STRAY_RATIO = 0.2  # of them: a gauge that averages lags behind the cable


class Observation(Frozen):
    """``current``: raw, as ``current_now`` had it. ``status``, ``powered``: of ``dumpsys battery`` at that time, with
    the cable really in or out: a faked state must not come here."""

    current: int
    volts: float
    status: int
    powered: bool


class Calibration(Frozen):
    """Amperes out of the battery are ``current_now`` times ``sign * amperes_per_unit``."""

    sign: Literal[-1, 1]
    amperes_per_unit: float

    def amperes_out(self, current: int) -> float:
        return current * self.sign * self.amperes_per_unit


def calibrate(observations: Sequence[Observation]) -> Calibration | Absent:
    """From readings with the cable out and with it in, which must be seen to turn the current around.

    Out of a battery that nothing feeds current can only flow out, which gives the sign, and a phone takes 0.1 to 20 W,
    which gives the unit. Readings on a charger must then say that it flows in: a gauge for which both are the same
    measures something else.
    """
    unplugged = [one for one in observations if not one.powered and one.status == DISCHARGING]
    plugged = [one for one in observations if one.powered and one.status == CHARGING]
    for kind, found in (("the cable out", unplugged), ("the phone charging", plugged)):
        if len(found) < LEAST_READINGS:
            return Absent(
                "the sign and unit of this phone's current are not known yet: "
                f"{len(found)} of {LEAST_READINGS} readings with {kind}"
            )
    out, volts = median(one.current for one in unplugged), median(one.volts for one in unplugged)
    into = median(one.current for one in plugged)
    units = [unit for unit in (MICROAMPERES, MILLIAMPERES) if MIN_WATTS <= abs(out) * unit * volts <= MAX_WATTS]
    if len(units) != 1:
        return Absent(f"a current of {out:g} at {volts:.2f} V is no phone's, in uA nor in mA")
    sign: Literal[-1, 1] = 1 if out > 0 else -1
    if sum(one.current * sign < 0 for one in unplugged) > MAX_STRAY_RATIO * len(unplugged):
        return Absent("the current changes its sign while the cable is out")
    if into * sign >= 0:
        return Absent(
            f"the current is {into:g} while the phone charges and {out:g} while it does not: the same direction "
            "(a charger that is weaker than the phone, or a gauge that shows no sign)"
        )
    return Calibration(sign=sign, amperes_per_unit=units[0])
