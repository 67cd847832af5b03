"""How figures are written for people: the same in tables, reports and sentences."""

from __future__ import annotations

import re

from farm.types import Estimate, Parity

MISSING = "—"

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text from elsewhere without terminal control sequences. Line breaks and tabs stay."""
    return _CONTROL.sub("", text)


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, without an exponent between 0.0001 and a million: 0.0123, 4.56, 78.9, 1234."""
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    rounded = f"{value:#.{digits}g}"
    return f"{value:.0f}" if "e" in rounded or rounded.endswith(".") else rounded


def milliseconds(seconds: float) -> str:
    """Four digits, so that the two ends of a tight interval can be told apart."""
    return number(seconds * 1000, digits=4)


def milliseconds_interval(seconds: Estimate) -> str:
    return f"{milliseconds(seconds.low)}–{milliseconds(seconds.high)}"


def times(ratio: float) -> str:
    return f"{number(ratio)}×"


def times_interval(ratio: Estimate) -> str:
    return f"{number(ratio.low)}–{number(ratio.high)}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def size(size_bytes: float) -> str:
    """In binary units, which is what memory is sold in: ``18.6 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size_bytes) < 1023.5:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{number(size_bytes)} {unit}"
        size_bytes /= 1024
    return f"{number(size_bytes)} GiB"


def energy(joules: float) -> str:
    """``12.3 mJ``, ``1.45 J``."""
    return f"{number(joules)} J" if abs(joules) >= 1 else f"{number(joules * 1000)} mJ"


def energy_interval(joules: Estimate) -> str:
    """In the unit of the larger end."""
    scale = 1 if joules.high >= 1 else 1000
    return f"{number(joules.low * scale)}–{number(joules.high * scale)}"


def power(watts: float) -> str:
    return f"{number(watts)} W"


def temperature(celsius: float) -> str:
    return f"{celsius:.1f} °C"


def count(value: int) -> str:
    """Of parameters or operations, in powers of a thousand: ``4.65 M``, ``770 M``, ``12``."""
    scaled = float(value)
    for unit in ("", " k", " M", " G"):
        if scaled < 999.5:
            return f"{value}" if not unit else f"{number(scaled)}{unit}"
        scaled /= 1000
    return f"{number(scaled)} T"


def cosine(value: float) -> str:
    """Six decimals, rounded away from 1, so that only identical directions read as 1."""
    if value >= 1:
        return "1.000000"
    return f"{min(value, 0.999999):.6f}"


def parity(found: Parity) -> str:
    """Every figure in one line."""
    agreements = (("top-1", found.top1_agreement), ("top-5", found.top5_agreement))
    parts = [
        f"cosine {cosine(found.cosine)}",
        f"largest error {number(found.max_abs_error)} (outputs up to {number(found.reference_abs_max)})",
        f"relative {number(found.max_rel_error)}",
        f"SNR {found.snr_db:.1f} dB",
        *(f"{name} agreement {share:.4g}" for name, share in agreements if share is not None),
    ]
    return f"{', '.join(parts)}; {found.samples} inputs"


def score(value: float) -> str:
    return number(value, digits=4)


def change(value: float) -> str:
    """With its sign: a drop of 0.012, a gain of -0.012."""
    return "0" if value == 0 else f"{value:+.4f}" if abs(value) < 1 else f"{value:+.4g}"


def change_interval(drop: Estimate) -> str:
    return f"{change(drop.low)} to {change(drop.high)}"


def of_unit(value: float, unit: str) -> str:
    """With the unit that suits it; ``unit``: as a quantity's (``farm.analysis.quantities``)."""
    match unit:
        case "seconds":
            return f"{number(value, 4)} s" if abs(value) >= 1 else f"{milliseconds(value)} ms"
        case "bytes":
            return size(value)
        case "joules":
            return energy(value)
        case "watts":
            return power(value)
        case "per second":
            return f"{number(value, 4)}/s"
        case _:
            return score(value)


def percent(share: float) -> str:
    """Of a change, with its sign: ``+7.82 %``."""
    return f"{share * 100:+.{2 if abs(share) < 0.0995 else 1}f} %"
