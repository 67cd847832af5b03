"""What a gate lets pass: ``latency_p50=3%``, ``accuracy=0.01``, ``latency_p95=20ms``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from farm.analysis import figures
from farm.analysis.change import Change, loss
from farm.analysis.quantities import Quantity, Unit, quantity
from farm.errors import UserError
from farm.types import Estimate

Kind = Literal["max-regression", "max-drop", "max", "min"]

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)\s*([A-Za-zµ%/]*)\s*")
_UNITS: Mapping[Unit, Mapping[str, float]] = {
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    "bytes": {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "joules": {"J": 1, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6},
    "watts": {"W": 1, "mW": 1e-3},
    "ratio": {"": 1, "%": 0.01},
    "per second": {"/s": 1},
}


@dataclass(frozen=True)
class Limit:
    """``amount``: the most that a figure may get worse, as a share of the baseline's (``max-regression``) or for scores
    absolutely (``max-drop``); or the most or least that it may be, in the unit of its quantity."""

    kind: Kind
    quantity: Quantity
    amount: float

    def __str__(self) -> str:
        return f"{self.kind} {self.quantity.name}={self.text}"

    @property
    def text(self) -> str:
        """The amount as people write it."""
        if self.kind == "max-regression":
            return f"{self.amount * 100:g} %"
        if self.kind == "max-drop":
            return f"{self.amount:g}"
        return figures.of_unit(self.amount, self.quantity.unit)

    @property
    def of_change(self) -> bool:
        """Whether a baseline is needed."""
        return self.kind in ("max-regression", "max-drop")

    @property
    def on_log_scale(self) -> bool:
        """Where the intervals of its figures are symmetric."""
        return not self.quantity.score

    def figure(self, change: Change) -> Estimate | None:
        """What is judged: the change, or the run's own figure."""
        return change.change if self.of_change else change.now

    def badness(self, figure: Estimate) -> Estimate:
        """How bad it is: not more than ``threshold`` passes."""
        if self.of_change:
            return loss(figure, self.quantity)
        if self.kind == "max":
            return figure
        return Estimate(value=-figure.value, low=-figure.high, high=-figure.low)

    @property
    def threshold(self) -> float:
        return -self.amount if self.kind == "min" else self.amount


def parse(text: str) -> Limit:
    """``max-regression latency_p50=3%``: as a limit is written. Raises UserError."""
    kind, _, rest = text.strip().partition(" ")
    match kind:
        case "max-regression":
            return max_regression(rest)
        case "max-drop":
            return max_drop(rest)
        case "max" | "min":
            return bound(kind, rest)
    raise UserError(
        f"There is no limit {text!r}.", remedy=f"Write one of {', '.join(get_args(Kind))}, a space and METRIC=AMOUNT."
    )


def max_regression(text: str) -> Limit:
    """Raises UserError."""
    of, number, unit = _split("--max-regression", text, "latency_p50=3%")
    if of.score:
        raise UserError(
            f"{of.name} is a score: its changes are differences, not shares.",
            remedy=f"Write --max-drop {of.name}=0.01.",
        )
    share = _share("--max-regression", text, number, unit)
    if of.higher_is_better and share >= 1:
        raise UserError(f"{of.name} cannot fall by {share:.0%} or more.", remedy="Give less than 100 %.")
    return Limit("max-regression", of, share)


def max_drop(text: str) -> Limit:
    """Raises UserError."""
    of, number, unit = _split("--max-drop", text, "accuracy=0.01")
    if not of.score:
        raise UserError(
            f"{of.name} is no score: its changes are shares.", remedy=f"Write --max-regression {of.name}=3%."
        )
    if unit not in _UNITS["ratio"]:
        raise _unreadable("--max-drop", text, "0.01, or 1% for the same")
    return Limit("max-drop", of, number * _UNITS["ratio"][unit])


def bound(kind: Literal["max", "min"], text: str) -> Limit:
    """Raises UserError."""
    of, number, unit = _split(f"--{kind}", text, "latency_p95=20ms")
    units = _UNITS[of.unit]
    if unit not in units:
        raise _unreadable(f"--{kind}", text, f"a number with one of the units {', '.join(filter(None, units))}")
    if of.higher_is_better is not (kind == "min"):
        other = "--min" if kind == "max" else "--max"
        better = "higher" if of.higher_is_better else "lower"
        raise UserError(f"--{kind} {text} would refuse what is good: {better} is better.", remedy=f"Write {other}.")
    return Limit(kind, of, number * units[unit])


def noise(text: str) -> tuple[str, float]:
    """A metric, and how much it differs from run to run. Raises UserError."""
    of, number, unit = _split("--noise", text, "latency_p50=2%")
    if of.score:
        if unit not in _UNITS["ratio"]:
            raise _unreadable("--noise", text, "0.01, or 1% for the same")
        return of.name, number * _UNITS["ratio"][unit]
    return of.name, _share("--noise", text, number, unit)


def _split(option: str, text: str, example: str) -> tuple[Quantity, float, str]:
    name, _, amount = text.partition("=")
    found = _AMOUNT.fullmatch(amount)
    if not found:
        raise _unreadable(option, text, f"METRIC=AMOUNT, e.g. {example}")
    return quantity(name.strip()), float(found[1]), found[2]


def _share(option: str, text: str, number: float, unit: str) -> float:
    """A bare 3 is more likely to mean 3 % than 300 %."""
    if unit == "%":
        return number / 100
    if unit or number >= 1:
        raise _unreadable(option, text, "a percentage such as 3%, or a share below 1 such as 0.03")
    return number


def _unreadable(option: str, text: str, wanted: str) -> UserError:
    return UserError(f"{option} {text} cannot be used.", remedy=f"Give {wanted}.")
