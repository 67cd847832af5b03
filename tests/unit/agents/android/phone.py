"""A made-up sampler's file and the harness's records beside it, of a phone whose power is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.unit.agents.android.samples import BATTERY, ODPM, THERMAL

UPTIME, OFFSET = 1000.0, -40.0  # the phone slept for 40 s before
IDLE, BUSY = 30.0, 60.0
END = UPTIME + IDLE + BUSY + IDLE
VOLTS = 4.0
IDLE_WATTS, BUSY_WATTS = 0.8, 2.4


def watts(at: float) -> float:
    """With a ripple that a gauge would see, of no effect on the mean."""
    level = BUSY_WATTS if UPTIME + IDLE <= at < UPTIME + IDLE + BUSY else IDLE_WATTS
    return level * (1 + 0.01 * (round(at * 4) % 5 - 2))


def sampled(
    *,
    keys: str = "i,v,q,f0,m0,s,o",
    sign: int = -1,
    scale: float = 1e6,
    counter_scale: float = 1.0,
    values: Callable[[float], dict[str, str]] = lambda at: {},
    battery: str = BATTERY,
    thermal: Callable[[float], str] = lambda at: THERMAL,
    rails: bool = False,
    edit: Callable[[list[str]], Sequence[str]] = lambda lines: lines,
) -> str:
    """``values``: what a tick has otherwise at that time; an empty value was not read."""
    records = [["start", f"{UPTIME:.2f}", "0.25", keys]]
    coulombs, joules, busy, own = 9000.0, 100.0, 5000.0, 0.0
    for number in range(round((END - UPTIME) * 4) + 1):
        at = UPTIME + number / 4
        phase = 0 if at < UPTIME + IDLE else 1 if at < UPTIME + IDLE + BUSY else 2
        amperes = watts(at) / VOLTS
        told = {
            "i": f"{round(sign * amperes * scale)}",
            "v": f"{round(VOLTS * 1e6)}",
            "q": f"{round(coulombs / 3.6e-3)}",
            "f0": "1500000",
            "m0": "1800000",
            "s": f"{busy:.0f},0,0,90000,0,0,0,7",
        }
        if phase == 1:
            told["o"] = f"{own:.0f},0,0,0"
        told |= values(at)
        told = {key: value for key, value in told.items() if key in keys.split(",") and value}
        records.append(["tick", f"{at:.2f}", str(phase), *(f"{key}={value}" for key, value in told.items())])
        if number % 40 == 0:
            records += [["battery", f"{at:.2f}", str(number), line] for line in battery.splitlines() if line]
            records += [["thermal", f"{at:.2f}", str(number), line] for line in thermal(at).splitlines() if line]
            records.append(["cpu", f"{at:.2f}", f"{number // 40},0,{number // 80},0"])
        if rails and number % 4 == 0:
            text = ODPM.replace("2000500", f"{round(at * 1000)}").replace("7500000", f"{round(joules * 1e6)}")
            records += [["rail", f"{at:.2f}", "0", line] for line in text.splitlines()]
        coulombs -= amperes / 4 * counter_scale
        joules += watts(at) / 4
        own += 24 if phase == 1 else 0  # of one CPU nearly all
        busy += (24 if phase == 1 else 0) + 8  # of eight CPUs 4 %
    records.append(["end", f"{END:.2f}"])
    lines = ["\t".join([str(number), *record, ";"]) for number, record in enumerate(records)]
    return "\n".join(edit(lines)) + "\n"


def harness(*, slept_seconds: float = 0.0) -> list[dict[str, Any]]:
    """The records that tell time; the measured phase is the middle 50 of the 60 s."""
    start, end = UPTIME + IDLE, UPTIME + IDLE + BUSY
    return [
        {"kind": "start", "monotonic_seconds": start + OFFSET, "uptime_seconds": start},
        {"kind": "cpus_allowed", "monotonic_seconds": start + OFFSET + 2},
        {"kind": "warmup", "monotonic_seconds": start + OFFSET + 4},
        {"kind": "samples", "monotonic_seconds": start + OFFSET + 30},
        {"kind": "stop", "monotonic_seconds": start + OFFSET + 54},
        {"kind": "end", "monotonic_seconds": end + OFFSET, "uptime_seconds": end + slept_seconds},
    ]
