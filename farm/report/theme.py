"""Colours of a plot outside the report's page, which has its own themes: readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COLOURS = {
    "trusted": "#1d9e78",
    "suspect": "#d08a1d",
    "invalid": "#d9544d",
    "failed": "#d9544d",
    "text": "#7a8597",
    "muted": "#7a8597",
    "grid": "rgba(128,138,155,0.28)",
    "sheet": "rgba(0,0,0,0)",
    "accent": "#3b82c4",
}


def coloured(value: Any) -> Any:
    """The drawing with ``"$name"`` replaced by colours; ``"$name-soft"`` by a transparent one."""
    if isinstance(value, str) and value.startswith("$"):
        colour = _COLOURS.get(value[1:].removesuffix("-soft"), _COLOURS["muted"])
        return f"{colour}33" if value.endswith("-soft") else colour
    if isinstance(value, Mapping):
        return {key: coloured(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [coloured(item) for item in value]
    return value
