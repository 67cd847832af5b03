"""How many times better than a baseline each variant is over several devices. Pure.

Two questions, two intervals. *On these devices*: the geometric mean of the ratios measured on them, with the intervals
of the measurements combined. *On devices like these*: the same mean, with the spread between devices
(``farm.analysis.overall`` has the methods and their sources).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.analysis import figures
from farm.analysis.grid import Grid, Pairing, doubt, pair
from farm.analysis.notebook import Shown
from farm.analysis.overall import geometric_mean, like_these
from farm.analysis.quantities import Quantity
from farm.analysis.ratio import ratio
from farm.analysis.row import BASELINE, Row
from farm.analysis.sheet import Line, Sheet
from farm.analysis.wording import listed, so_many_devices, title
from farm.errors import InternalError, NotFoundError, UserError
from farm.types import Estimate, VerdictLevel

FEWEST_DEVICES = 3  # for a spread between them


@dataclass(frozen=True)
class Mean:
    """``here``: on these devices; ``like_these``: on devices like these. Above 1 is better than the baseline.

    ``by_device`` holds the ratios it is made of; ``suspect`` the devices where the variant's or the baseline's result
    is suspect: the mean is as suspect as they are.
    """

    variant: str
    here: Estimate
    like_these: Estimate | None
    by_device: Mapping[str, Estimate]
    suspect: tuple[str, ...]

    @property
    def worst(self) -> str:
        """The device on which it gains least."""
        return min(self.by_device, key=lambda device: self.by_device[device].value)


@dataclass(frozen=True)
class Across(Shown):
    """``means``: the best first. ``like_these_absent``: why there is no interval for other devices."""

    metric: Quantity
    baseline: str
    scenario: str
    virtual: bool
    confidence: float | None
    means: tuple[Mean, ...]
    pairing: Pairing
    like_these_absent: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        return self.pairing.devices

    def __getitem__(self, variant: str) -> Mean:
        for mean in self.means:
            if mean.variant == variant:
                return mean
        why = self.pairing.left_variants.get(variant)
        raise NotFoundError(
            f"There is no mean of {variant!r}{f': {why}' if why else ''}.",
            remedy=f"There is one of {listed([mean.variant for mean in self.means]) or 'nothing'}.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "metric": self.metric.name,
            "baseline": self.baseline,
            "scenario": self.scenario,
            "virtual": self.virtual,
            "confidence": self.confidence,
            "devices": list(self.devices),
            "means": [
                {
                    "variant": mean.variant,
                    "ratio": mean.here.model_dump(),
                    "ratio_on_devices_like_these": mean.like_these.model_dump() if mean.like_these else None,
                    "by_device": {device: found.model_dump() for device, found in mean.by_device.items()},
                    "suspect_on": list(mean.suspect),
                }
                for mean in self.means
            ],
            "like_these_absent": self.like_these_absent,
            "variants_left_out": dict(self.pairing.left_variants),
            "devices_left_out": dict(self.pairing.left_devices),
        }

    def records(self) -> list[dict[str, Any]]:
        """A line per variant and device."""
        return [
            {
                "variant": mean.variant,
                "device": device,
                "metric": self.metric.name,
                "baseline": self.baseline,
                "ratio": found.value,
                "ratio_low": found.low,
                "ratio_high": found.high,
                "suspect": device in mean.suspect,
                "geometric_mean": mean.here.value,
                "geometric_mean_low": mean.here.low,
                "geometric_mean_high": mean.here.high,
            }
            for mean in self.means
            for device, found in mean.by_device.items()
        ]

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.overview import forest

        return forest(self)

    def sheets(self) -> tuple[Sheet, ...]:
        level = f"{self.confidence:.0%} CI" if self.confidence else "CI"
        lines = []
        for mean in self.means:
            alike, worst = mean.like_these, mean.by_device[mean.worst]
            lines.append(
                Line(
                    (
                        (mean.variant, f"suspect on {len(mean.suspect)}" if mean.suspect else ""),
                        (figures.times(mean.here.value), _interval(mean.here)),
                        (_interval(alike) if alike else figures.MISSING, ""),
                        (figures.times(worst.value), mean.worst) if _interval(mean.here) else ("", "the baseline"),
                    ),
                    "suspect" if mean.suspect else "trusted",
                )
            )
        better = "faster" if self.metric.unit == "seconds" else "better"
        name = f"Times {better} than {self.baseline}: {title(self.metric)} over {so_many_devices(len(self.devices))}"
        headings = (("variant", ""), ("these devices", level), ("devices like these", level), ("least", "on"))
        return (
            Sheet(f"{name}, {self.scenario}", headings, tuple(lines), notes=tuple(self._notes()), virtual=self.virtual),
        )

    def _notes(self) -> list[str]:
        notes = []
        if not self.means:
            notes.append("No device has a figure of every variant: compare fewer (variants=, --variants).")
        elif self.like_these_absent:
            notes.append(f"Nothing is said of other devices: {self.like_these_absent}.")
        notes += [f"Left out: variant {name}, {why}." for name, why in self.pairing.left_variants.items()]
        notes += [f"Left out: device {name}: {why}." for name, why in self.pairing.left_devices.items()]
        return notes


def across_devices(
    grid: Grid,
    metric: Quantity,
    *,
    variants: Sequence[str] | None = None,
    baseline: str | None = None,
    trusted_only: bool = False,
) -> Across:
    """``baseline``: a recipe; eager PyTorch unless told otherwise. Invalid results never count, suspect ones are
    marked. Raises UserError for scores, of which there are differences and no ratios; NotFoundError."""
    if metric.score or metric.name == "speedup":
        raise UserError(
            f"There is no mean of the ratios of {metric.name}.",
            remedy="Ask for latency_p50 instead." if metric.name == "speedup" else "Ask for the Pareto front with it.",
        )
    recipes = {row.recipe for line in grid.rows.values() for row in line.values()}
    if baseline is not None and baseline not in recipes:
        raise NotFoundError(f"There is no variant {baseline!r} here.", remedy=f"Take one of {', '.join(recipes)}.")
    bases = {
        (row.run_id, row.setting.device): row
        for line in grid.rows.values()
        for row in line.values()
        if (row.is_baseline if baseline is None else row.recipe == baseline)
    }
    name = baseline or BASELINE

    def base(row: Row) -> Row | None:
        return bases.get((row.run_id, row.setting.device))

    def why(variant: str, device: str) -> str:
        row = grid.row(variant, device)
        own = doubt(row, metric, trusted_only=trusted_only) or _no_ratio(row, metric)
        if own or row is None:
            return own
        other = base(row)
        theirs = doubt(other, metric, trusted_only=trusted_only) or _no_ratio(other, metric)
        return f"has no baseline ({name} is {theirs})" if theirs else ""

    pairing = pair(grid, why, variants)
    confidence = _confidence([row for line in grid.rows.values() for row in line.values()])
    absent = _absent(len(pairing.devices), confidence)
    means = []
    for variant in pairing.variants if pairing.devices else ():
        by_device, suspect = {}, []
        for device in pairing.devices:
            row = grid.rows[variant][device]
            other = base(row)
            by_device[device] = _times(row, other, metric)
            if VerdictLevel.SUSPECT in (row.level, other.level if other else None):
                suspect.append(device)
        found = list(by_device.values())
        wider = like_these(found, confidence) if confidence and not absent else None
        means.append(Mean(variant, geometric_mean(found), wider, by_device, tuple(suspect)))
    means.sort(key=lambda mean: -mean.here.value)
    return Across(metric, name, grid.scenario, grid.virtual, confidence, tuple(means), pairing, absent)


def _times(row: Row, base: Row | None, metric: Quantity) -> Estimate:
    """How many times better than the baseline."""
    if row is base:
        return Estimate(value=1, low=1, high=1)
    own, theirs = row.figure(metric), base.figure(metric) if base else None
    if own is None or theirs is None:
        raise InternalError(f"{row.label} has no {metric.name} to compare.", remedy="Report it: only pairs come here.")
    return ratio(own, theirs) if metric.higher_is_better else ratio(theirs, own)


def _no_ratio(row: Row | None, metric: Quantity) -> str:
    figure = row.figure(metric) if row else None
    return f"{title(metric)} not certainly above 0" if figure and figure.low <= 0 else ""


def _confidence(rows: Sequence[Row]) -> float | None:
    """That of all results which count; None where they are of several."""
    levels = {row.outcome.result.confidence for row in rows if row.outcome.result}
    return levels.pop() if len(levels) == 1 else None


def _absent(count: int, confidence: float | None) -> str:
    if count < FEWEST_DEVICES:
        return f"a spread between devices takes {FEWEST_DEVICES} of them"
    return "" if confidence else "the intervals are of different confidences"


def _interval(ratio: Estimate) -> str:
    return "" if ratio.low == ratio.high == 1 else figures.times_interval(ratio)
