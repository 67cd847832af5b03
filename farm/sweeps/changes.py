"""What differs between a sweep and the one that takes its place, in words. Pure."""

from __future__ import annotations

from typing import Any

from farm.types import SweepSpec

_SHOWN = 60  # characters of a value


def changes(old: SweepSpec, new: SweepSpec) -> tuple[str, ...]:
    """A line per key, as the document has them; empty where they are the same."""
    before, after = _flat(_plain(old)), _flat(_plain(new))
    return tuple(
        _line(key, before.get(key), after.get(key)) for key in {**before, **after} if _differs(key, before, after)
    )


def _differs(key: str, before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.get(key) != after.get(key)


def _plain(spec: SweepSpec) -> dict[str, Any]:
    """Lists by what their entries are called: their order means nothing."""
    plain = spec.model_dump(mode="json", exclude={"recipes", "scenarios", "alerts"})
    plain["recipes"] = {recipe.name: recipe.model_dump(mode="json", exclude={"name"}) for recipe in spec.recipes}
    plain["scenarios"] = {str(scenario): True for scenario in spec.scenarios}
    plain["alerts"] = {rule.metric: rule.max_change_ratio or rule.max_drop for rule in spec.alerts}
    return plain


def _flat(value: dict[str, Any], prefix: str = "", depth: int = 2) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and depth > 1:
            found |= _flat(inner, f"{prefix}{key}.", depth - 1)
        else:
            found[f"{prefix}{key}"] = inner
    return found


def _line(key: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        return f"{key} changes"
    if before is None:
        return f"+ {key}" if after is True or isinstance(after, dict) else f"+ {key}: {_shown(after)}"
    if after is None:
        return f"- {key}" if before is True or isinstance(before, dict) else f"- {key} (was {_shown(before)})"
    return f"{key}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
