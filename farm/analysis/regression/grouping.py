"""What changed alike is one thing to tell: a device, a variant, a night, or one series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from farm.analysis.figures import number
from farm.analysis.quantities import quantity
from farm.analysis.regression.finding import Change, ChangeKind, Finding, FindingKind, Scope
from farm.types import Estimate

_MOST = 0.6
_FEWEST_OF_NIGHT = 5
_FEWEST_OF_DEVICE = 3
_FEWEST_OF_VARIANT = 2

_Of = TypeVar("_Of")

Place = tuple[Scope, str | None, str | None, str | None]  # device, variant, scenario


def findings(changes: Sequence[Change], metrics: Sequence[str]) -> list[Finding]:
    """Of everything that regressed, improved or is missing. ``metrics``: in the order in which they lead."""
    made = []
    for kind in (ChangeKind.REGRESSED, ChangeKind.MISSING, ChangeKind.IMPROVED):
        by_place: dict[Place, list[Change]] = defaultdict(list)
        for metric in metrics:
            of_metric = [change for change in changes if change.key.metric == metric]
            for place, members in _places(of_metric, kind).items():
                by_place[place] += sorted(members, key=_size, reverse=True)
        made += [_finding(FindingKind(kind), place, members, changes) for place, members in by_place.items()]
    return made


def noisy(
    device: str, ratios: Sequence[tuple[str, float]], usual: float, smallest: float | None, shown: Change | None
) -> Finding:
    """``ratios`` by metric, the leading one first; ``usual``, ``smallest`` and ``shown`` are of that."""
    metric, ratio = ratios[0]
    text = (
        f"{device} is noisy: {metric} of one artifact differs by up to {_percent(ratio)} between nights, "
        f"where {_percent(usual)} is usual"
    )
    if smallest is not None:
        text += f"; a change of less than {_percent(smallest)} does not show on it in three nights"
    if others := ", ".join(name for name, _ in ratios[1:]):
        text += f"; so does {others}"
    return Finding(
        FindingKind.NOISY,
        Scope.DEVICE,
        tuple(name for name, _ in ratios),
        device,
        None,
        None,
        None,
        ratio,
        None,
        (shown,) if shown else (),
        (),
        text,
    )


def _places(changes: Sequence[Change], kind: ChangeKind) -> dict[Place, list[Change]]:
    """The widest scope first; what it takes is not told again in a narrower one."""
    left = [change for change in changes if change.kind is kind]
    found: dict[Place, list[Change]] = {}
    devices = {change.key.device for change in changes}
    if len(left) >= max(_FEWEST_OF_NIGHT, _MOST * len(changes)) and len(devices) > 1:
        return {(Scope.NIGHT, None, None, None): left}
    for device, (some, all_count) in _shares(changes, left, lambda change: change.key.device).items():
        if all_count >= _FEWEST_OF_DEVICE and len(some) >= _MOST * all_count:
            found[Scope.DEVICE, device, None, None] = some
    left = [change for change in left if (Scope.DEVICE, change.key.device, None, None) not in found]
    for (variant, scenario), (some, all_count) in _shares(
        changes, left, lambda change: (change.key.variant, change.key.scenario)
    ).items():
        if all_count >= _FEWEST_OF_VARIANT and len(some) >= max(_FEWEST_OF_VARIANT, _MOST * all_count):
            found[Scope.VARIANT, None, variant, scenario] = some
        else:
            found |= {
                (Scope.SERIES, change.key.device, change.key.variant, change.key.scenario): [change] for change in some
            }
    return found


def _shares(
    changes: Iterable[Change], some: Iterable[Change], of: Callable[[Change], _Of]
) -> dict[_Of, tuple[list[Change], int]]:
    counts: dict[_Of, int] = defaultdict(int)
    for change in changes:
        counts[of(change)] += 1
    held: dict[_Of, list[Change]] = defaultdict(list)
    for change in some:
        held[of(change)].append(change)
    return {each: (members, counts[each]) for each, members in held.items()}


def _finding(kind: FindingKind, place: Place, members: list[Change], changes: Sequence[Change]) -> Finding:
    scope, device, variant, scenario = place
    lead = [member for member in members if member.key.metric == members[0].key.metric]
    middle = lead[len(lead) // 2]
    metrics = () if kind is FindingKind.MISSING else tuple(dict.fromkeys(member.key.metric for member in members))
    since = min((member.since for member in members if member.since), default=None)
    change = middle.change if scope in (Scope.DEVICE, Scope.NIGHT) else middle.own_change
    return Finding(
        kind,
        scope,
        metrics,
        device,
        variant,
        scenario,
        change,
        middle.noise_ratio,
        since,
        tuple(members),
        _unaffected(members, changes),
        _text(kind, place, lead, metrics, change),
    )


def _unaffected(members: Sequence[Change], changes: Sequence[Change]) -> tuple[str, ...]:
    lead = members[0].key.metric
    same = {(member.key.variant, member.key.scenario) for member in members}
    affected = {member.key.device for member in members}
    steady = {
        change.key.device
        for change in changes
        if change.kind is ChangeKind.STEADY
        and change.key.metric == lead
        and (change.key.variant, change.key.scenario) in same
    }
    return tuple(sorted(steady - affected))


def _size(change: Change) -> float:
    if change.own_change is None:
        return 0.0
    return abs(change.own_change.value - (0 if quantity(change.key.metric).score else 1))


def _text(
    kind: FindingKind, place: Place, lead: Sequence[Change], metrics: Sequence[str], change: Estimate | None
) -> str:
    where = _where(place, lead)
    if kind is FindingKind.MISSING:
        return f"{where}: {lead[0].reasons[0]}"
    how = "worse" if kind is FindingKind.REGRESSED else "better"
    said = f"{where}: {metrics[0]} is {how}"
    if change is not None:
        said += f", {change_in_words(change, score=quantity(metrics[0]).score)}"
    return said + (f"; so are {', '.join(metrics[1:])}" if len(metrics) > 1 else "")


def _where(place: Place, lead: Sequence[Change]) -> str:
    scope, device, variant, scenario = place
    devices = len({member.key.device for member in lead})
    match scope:
        case Scope.SERIES:
            return f"{variant} on {device}, {scenario}"
        case Scope.VARIANT:
            return f"{variant} on {devices} devices, {scenario}"
        case Scope.DEVICE:
            return f"{device}, {len(lead)} of its series alike"
        case Scope.NIGHT:
            return f"{len(lead)} series on {devices} devices alike"


def change_in_words(change: Estimate, *, score: bool) -> str:
    """For example ``+3.1 % (+2.2 to +4.0)``; of scores ``-0.03 (-0.04 to -0.02)``."""
    if score:
        return f"{change.value:+.4f} ({change.low:+.4f} to {change.high:+.4f})"
    value, low, high = (100 * (each - 1) for each in (change.value, change.low, change.high))
    return f"{value:+.1f} % ({low:+.1f} to {high:+.1f})"


def _percent(ratio: float) -> str:
    return f"{number(100 * ratio, 2)} %"
