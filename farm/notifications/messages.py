"""What is said of a regression, and of a night that came to nothing: subject, Markdown, and data for programs. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from farm.analysis import figures
from farm.analysis.quantities import QUANTITIES, Unit
from farm.analysis.regressed import of_its_own, shared
from farm.notifications.markup import code, escaped
from farm.types import Estimate, Night, NightState, Regression, RegressionState

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_WHOLE = "result"  # the metric of a regression where nothing of a result is there
_SHOWN = 5  # names, and members
_VERSION_CHARACTERS = 12  # of a commit
_IN_UNITS: Mapping[Unit, Callable[[float], str]] = {
    "seconds": lambda value: f"{figures.milliseconds(value)} ms",
    "bytes": figures.size,
    "joules": figures.energy,
    "watts": figures.power,
    "ratio": figures.score,
    "per second": lambda value: f"{figures.number(value)} /s",
}
_KNOWN = {
    RegressionState.SUSPECTED: "Suspected: it was not measured again yet.",
    RegressionState.CONFIRMING: "Suspected: it is being measured again.",
    RegressionState.CONFIRMED: "Confirmed",
    RegressionState.REFUTED: "Refuted",
    RegressionState.UNCONFIRMED: "It could not be measured again",
    RegressionState.ENDED: "Over: a later night is as good as before.",
    RegressionState.CLOSED: "Closed",
}


@dataclass(frozen=True)
class Message:
    """``data`` has, where they are known, ``sweep``, ``about`` (what it replaces an earlier message on), ``commit``,
    ``page`` (a URL) and ``virtual``."""

    subject: str
    text: str
    data: dict[str, object]


def regression_message(regression: Regression, public_url: str | None = None) -> Message:
    key, about = regression.key, f"regression {regression.id}"
    page = f"{public_url.rstrip('/')}/api/v1/regressions/{regression.id}/page" if public_url else None
    data: dict[str, object] = {
        "about": about,
        "sweep": key.sweep,
        "virtual": regression.virtual,
        "regression": regression.model_dump(mode="json"),
    }
    if version := _culprit_or_version(regression):
        data["version"] = version
        if _COMMIT.fullmatch(version):
            data["commit"] = version
    if page:
        data["page"] = page
    marked = " [virtual]" if regression.virtual else ""
    subject = f"{_what(regression)}: {_where(regression)} (sweep {key.sweep}){marked}"
    lines = [_first_line(regression), ""]
    if regression.virtual:
        lines += ["**Virtual devices**: these figures are a simulation's.", ""]
    lines += [f"- {fact}" for fact in _facts(regression)]
    command = code(f"farm regressions page {regression.id}")
    known = f"[All that is known of it]({page}), also by {command}" if page else f"All that is known of it: {command}"
    lines += ["", known]
    return Message(subject, "\n".join(lines), data)


def night_message(night: Night) -> Message:
    """Of one that failed or was skipped."""
    became = "failed" if night.state is NightState.FAILED else f"was {night.state}"
    subject = f"The night of {_time(night.due_at)} of sweep {night.sweep} {became}"
    facts = [f"Why: {escaped(night.reason)}"] if night.reason else []
    if night.version:
        facts.append(f"Version: {_version(night.version)}")
    if night.run_id is not None:
        facts.append(f"Run: {night.run_id}")
    facts.append(f"Nothing was compared. {code(f'farm sweep history {night.sweep}')} shows its nights.")
    data: dict[str, object] = {
        "about": f"night {night.id}",
        "sweep": night.sweep,
        "night": night.model_dump(mode="json"),
    }
    if night.version:
        data["version"] = night.version
        if _COMMIT.fullmatch(night.version):
            data["commit"] = night.version
    return Message(subject, "\n".join(f"- {fact}" for fact in facts), data)


def message_of_test(channel: str) -> Message:
    text = f"This is a test of channel {code(channel)}. If you read it, what the nights find will reach you, too."
    return Message("A test of Torchfarm's notifications", text, {"about": "test"})


def _what(regression: Regression) -> str:
    """``latency_p50 up 10.2 %``"""
    metric, change = regression.key.metric, of_its_own(regression.worst)
    if regression.kind == "noisy":
        return "Noisy device"
    if regression.kind == "missing":
        return "Result is missing" if metric == _WHOLE else f"{metric} is missing"
    return f"{metric} {_moved(metric, change.value)}" if change else f"{metric} worse"


def _where(regression: Regression) -> str:
    key, count = regression.key, len(regression.affected) or 1
    if regression.kind == "noisy":
        return key.device
    match regression.scope:
        case "variant" if count > 1:
            return f"{key.variant} on {count} devices"
        case "device":
            return f"most variants on {key.device}"
        case "night":
            return "most of what was measured"
        case _:
            return f"{key.variant} on {key.device}"


def _first_line(regression: Regression) -> str:
    key, worst = regression.key, regression.worst
    series = f"{code(key.variant)} on {code(key.device)}, {escaped(key.scenario)}"
    if regression.kind == "noisy":
        much = _percent_or_score(key.metric, worst.noise_ratio)
        said = f"Figures of one artifact on {code(key.device)} differ far more from night to night than is usual"
        return f"{said}: {code(key.metric)} by up to **{much}**." if much else f"{said}."
    if regression.kind == "missing":
        lost = "result" if key.metric == _WHOLE else code(key.metric)
        return f"No {lost} of {series}, where there was one on the nights before."
    most = ", most of all" if len(regression.members) > 1 else ""
    said = f"{code(key.metric)} of {series}{most}: **{_change(key.metric, of_its_own(worst))}**"
    if shared(worst):
        said += f" without what the whole device did that night; as measured {_change(key.metric, worst.change)}"
    if worst.before and worst.now:
        said += f", from {_value(key.metric, worst.before)} to {_value(key.metric, worst.now)}"
    return f"{said}."


def _facts(regression: Regression) -> Iterator[str]:
    metric, worst = regression.key.metric, regression.worst
    if regression.kind == "noisy":
        yield from _facts_of_noise(regression)
        return
    yield _state(regression)
    if worst.limit is not None:
        noise = worst.noise_ratio
        known = (
            "not known yet" if noise is None else f"{_percent(noise)} (95 % of repeated measurements differ by less)"
        )
        yield f"Allowed: {_limit(metric, worst.limit)}. Noise of the device: {known}"
    if regression.baseline:
        yield f"Compared with: {escaped(regression.baseline)}"
    since = f"since {_time(regression.since)}, " if regression.since else ""
    yield f"Seen: {since}found by night {regression.night_id}, last shown by night {regression.seen_night_id}"
    if regression.bisection:
        found = regression.bisection
        if found.culprit:
            yield f"First bad version: {_version(found.culprit)}, after {_version(found.good)}"
        else:
            why = f": {escaped(found.reason)}" if found.reason else ""
            yield f"Between {_version(found.good)} and {_version(found.bad)}, {len(found.candidates)} versions{why}"
    elif worst.new and worst.new.version:
        before = f", before {_version(worst.old.version)}" if worst.old and worst.old.version else ""
        yield f"Version: {_version(worst.new.version)}{before}"
    for member in regression.members[1:_SHOWN]:
        change = f": {_change(member.key.metric, of_its_own(member))}" if member.change else ""
        yield f"Also {code(member.key.metric)} of {code(member.key.variant)} on {code(member.key.device)}{change}"
    if len(regression.members) > _SHOWN:
        yield f"And {len(regression.members) - _SHOWN} more series"
    if regression.unaffected:
        yield f"Not on {_names(regression.unaffected)}"


def _facts_of_noise(regression: Regression) -> Iterator[str]:
    if regression.reason:
        yield escaped(regression.reason)
    yield "There is nothing to measure once more: its noise counts in what is said of it, and small changes do not show"
    yield f"Seen: found by night {regression.night_id}, last shown by night {regression.seen_night_id}"


def _state(regression: Regression) -> str:
    known = _KNOWN[regression.state]
    measured = [each for each in regression.evidence if each.change]
    if measured and regression.state in (RegressionState.CONFIRMED, RegressionState.REFUTED):
        last = measured[-1]
        change = _change(last.key.metric, last.change)
        return f"{known}, old and new in turns on {code(last.key.device)}, {len(last.pairs)} pairs: {change}"
    if known.endswith("."):
        return known
    return f"{known}: {escaped(regression.reason)}" if regression.reason else known


def _change(metric: str, change: Estimate | None) -> str:
    """``up 10.2 % (9.60 % to 10.8 %)``: with its interval, where it has one."""
    if change is None:
        return "worse"
    said = _moved(metric, change.value)
    if change.low == change.high:
        return said
    ends = [figures.change(end) if _is_score(metric) else _percent(end - 1) for end in (change.low, change.high)]
    return f"{said} ({ends[0]} to {ends[1]})"


def _moved(metric: str, change: float) -> str:
    by = change if _is_score(metric) else change - 1
    return f"{'up' if by > 0 else 'down'} {_size(metric, abs(by))}"


def _size(metric: str, by: float) -> str:
    return figures.score(by) if _is_score(metric) else _percent(by)


def _percent_or_score(metric: str, ratio: float | None) -> str:
    if ratio is None:
        return ""
    return figures.score(ratio) if _is_score(metric) else _percent(ratio)


def _limit(metric: str, limit: float) -> str:
    """As it was given."""
    return f"{limit:g}" if _is_score(metric) else f"{100 * limit:g} %"


def _percent(ratio: float) -> str:
    return f"{figures.number(100 * ratio)} %"


def _value(metric: str, estimate: Estimate) -> str:
    said = _IN_UNITS[QUANTITIES[metric].unit] if metric in QUANTITIES else figures.number
    if estimate.low == estimate.high:
        return said(estimate.value)
    return f"{said(estimate.value)} ({said(estimate.low)} to {said(estimate.high)})"


def _is_score(metric: str) -> bool:
    return metric in QUANTITIES and QUANTITIES[metric].score


def _culprit_or_version(regression: Regression) -> str:
    if regression.bisection and regression.bisection.culprit:
        return regression.bisection.culprit
    if regression.kind == "noisy":
        return ""  # no version is to blame
    return regression.worst.new.version if regression.worst.new else ""


def _version(version: str) -> str:
    return code(version[:_VERSION_CHARACTERS] if _COMMIT.fullmatch(version) else version)


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(map(code, names[:_SHOWN]))}{more}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
