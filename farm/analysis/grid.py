"""A comparison as a grid: variants by devices, of one scenario. What may be compared across devices is decided here.

A variant that fails on slow devices must not look fast: a figure over devices is taken over those on which *every*
compared variant has one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.analysis.quantities import Quantity
from farm.analysis.row import Row
from farm.analysis.wording import listed, so_many_devices, title
from farm.errors import NotFoundError, UserError
from farm.types import Device, VerdictLevel

Why = Callable[[str, str], str]  # why this variant has no figure on this device; empty where it has


@dataclass(frozen=True)
class Grid:
    """``rows``: by variant, then by device. A variant is a recipe; of a run, where a device has it of several runs."""

    scenario: str
    virtual: bool
    rows: Mapping[str, Mapping[str, Row]]
    devices: Mapping[str, Device]

    def row(self, variant: str, device: str) -> Row | None:
        return self.rows[variant].get(device)


@dataclass(frozen=True)
class Pairing:
    """Every variant of ``variants`` has a figure on every device of ``devices``. What is left out, with the reason."""

    variants: tuple[str, ...]
    devices: tuple[str, ...]
    left_variants: Mapping[str, str]
    left_devices: Mapping[str, str]


def grids(rows: Iterable[Row], scenario: str | None = None, run: int | None = None) -> tuple[Grid, ...]:
    """Of the real devices, then of the virtual ones: they are never mixed. Raises UserError where rows of several
    scenarios, batch sizes or models would be, NotFoundError where there are none."""
    chosen = select(rows, scenario=scenario, run=run)
    only_one("scenarios", "scenario", {row.setting.scenario for row in chosen})
    only_one("models", "run", models(chosen))
    return tuple(
        _grid([row for row in chosen if row.setting.virtual is virtual], virtual)
        for virtual in (False, True)
        if any(row.setting.virtual is virtual for row in chosen)
    )


def _grid(rows: Sequence[Row], virtual: bool) -> Grid:
    places = Counter((row.recipe, row.setting.device) for row in rows)
    twice = {recipe for (recipe, _), count in places.items() if count > 1}
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.label if row.recipe in twice else row.recipe, {})[row.setting.device] = row
    devices = {row.setting.device: row.outcome.device for row in rows}
    return Grid(rows[0].setting.scenario, virtual, found, devices)


def doubt(row: Row | None, metric: Quantity, *, trusted_only: bool) -> str:
    """Why the row has no figure to go by; empty where it has one."""
    if row is None:
        return "not in the run"
    codes = ", ".join(dict.fromkeys(reason.code for reason in row.reasons if reason.level is not VerdictLevel.TRUSTED))
    if row.level is None:
        failure = row.outcome.job.failure
        return f"{row.status}{f' ({failure.code})' if failure else ''}"
    if row.level is VerdictLevel.INVALID or (trusted_only and row.level is VerdictLevel.SUSPECT):
        return f"{row.status} ({codes})" if codes else row.status
    return "" if row.figure(metric) else f"no {title(metric)}"


def pair(grid: Grid, why: Why, variants: Sequence[str] | None = None) -> Pairing:
    """``variants``: those to compare. Without, those that have a figure on at least half of the devices on which any
    has one: a variant that fails nearly everywhere must not take all the devices with it. Raises NotFoundError."""
    for name in variants or ():
        if name not in grid.rows:
            raise NotFoundError(
                f"There is no variant {name!r} here.", remedy=f"Take some of {', '.join(sorted(grid.rows))}."
            )
    reasons = {name: {device: why(name, device) for device in grid.devices} for name in variants or grid.rows}
    reached = [device for device in grid.devices if any(not found[device] for found in reasons.values())]
    there = so_many_devices(len(reached) or len(grid.devices))
    left_variants: dict[str, str] = {}
    for name, found in reasons.items():
        has = sum(not found[device] for device in reached)
        if variants is None and (not has or 2 * has < len(reached)):
            left_variants[name] = f"a figure on {has} of {there}: {_told(found)}"
    kept = [name for name in reasons if name not in left_variants]
    left_devices: dict[str, str] = {}
    for device in grid.devices:
        lacking = [f"{name} {reasons[name][device]}" for name in kept if reasons[name][device]]
        if lacking or device not in reached:
            left_devices[device] = listed(lacking, 3) or "no variant has a figure"
    devices = tuple(device for device in grid.devices if device not in left_devices)
    return Pairing(tuple(kept), devices, left_variants, left_devices)


def _told(found: Mapping[str, str]) -> str:
    """Each reason once, with where."""
    by_reason: dict[str, list[str]] = {}
    for device, reason in found.items():
        if reason:
            by_reason.setdefault(reason, []).append(device)
    return "; ".join(f"{reason} on {listed(devices, 3)}" for reason, devices in by_reason.items())


def select(
    rows: Iterable[Row],
    *,
    device: str | None = None,
    scenario: object = None,
    run: int | None = None,
    batch: int | None = None,
) -> list[Row]:
    """Raises NotFoundError where nothing is left."""
    everything = list(rows)
    found = [
        row
        for row in everything
        if device in (None, row.setting.device)
        and (scenario is None or str(scenario) in names(row))
        and run in (None, row.run_id)
        and batch in (None, row.batch)
    ]
    if not found:
        asked = [
            f"{key}={value}"
            for key, value in (("device", device), ("scenario", scenario), ("run", run), ("batch", batch))
            if value is not None
        ]
        there = dict.fromkeys(f"{row.setting.device} {row.setting.scenario}" for row in everything)
        raise NotFoundError(
            f"The comparison holds no rows{' with ' + ', '.join(asked) if asked else ''}.",
            remedy=f"It holds {listed(list(there), 8) or 'nothing'}.",
        )
    return found


def names(row: Row) -> tuple[str, ...]:
    """What its scenario may be called."""
    scenario = row.outcome.job.scenario
    return row.setting.scenario, str(scenario), scenario.name


def models(rows: Iterable[Row]) -> list[str]:
    """A run of each model."""
    return list({row.run.model_id: f"run {row.run_id}" for row in rows if row.run}.values())


def only_one(what: str, argument: str, found: Iterable[str]) -> None:
    """Raises UserError where there are several."""
    distinct = sorted(set(found))
    if len(distinct) > 1:
        raise UserError(
            f"Over {len(distinct)} {what} this would compare {what}, not variants.",
            remedy=f"Pass {argument}=: one of {listed(distinct, 8)}.",
        )
