"""Plots as inline SVG, for pages that run no script. Colours are the style's classes, so that they follow its theme.

Pure: values in, markup out. All text in it is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape

from farm.types import Estimate

LEFT, RIGHT, TOP, BOTTOM = 84, 16, 14, 30  # pixels around the plot's area


@dataclass(frozen=True)
class Scale:
    """From values to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most so many round numbers within [low, high]: steps of 1, 2 or 5 times a power of ten."""
    finest = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (finest * each for each in (1, 2, 5, 10, 20)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(number * step, 12) for number in range(first, last + 1)]
    return []


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """A range with some air; never empty."""
    low, high = min(values), max(values)
    air = share * (high - low) or abs(high) * 0.02 or 1.0
    return low - air, high + air


@dataclass
class Drawing:
    """``said``: what the plot shows, for who does not see it."""

    width: int
    height: int
    said: str
    parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        self.parts.append(f'<line class="{style}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def dot(self, x: float, y: float, style: str, title: str = "", radius: float = 3.5) -> None:
        about = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<circle class="{style}" cx="{x}" cy="{y}" r="{radius}">{about}</circle>')

    def box(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        left, top = min(x1, x2), min(y1, y2)
        self.parts.append(
            f'<rect class="{style}" x="{left}" y="{top}" width="{round(abs(x2 - x1), 1)}" '
            f'height="{round(abs(y2 - y1), 1)}"/>'
        )

    def text(self, x: float, y: float, text: str, anchor: str = "start", style: str = "label") -> None:
        self.parts.append(f'<text class="{style}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>')

    def bar(self, x: Scale, y: float, estimate: Estimate, style: str) -> None:
        """An interval along x."""
        self.line(x(estimate.low), y, x(estimate.high), y, style)

    def vertical(self, low: float, high: float, write: Callable[[float], str]) -> Scale:
        """The y axis with its grid."""
        scale = Scale(low, high, self.height - BOTTOM, TOP)
        for tick in ticks(low, high):
            self.line(LEFT, scale(tick), self.width - RIGHT, scale(tick), "grid")
            self.text(LEFT - 8, scale(tick) + 4, write(tick), "end")
        return scale

    def horizontal(self, low: float, high: float, write: Callable[[float], str]) -> Scale:
        """The x axis with its grid."""
        scale = Scale(low, high, LEFT, self.width - RIGHT)
        for tick in ticks(low, high):
            self.line(scale(tick), TOP, scale(tick), self.height - BOTTOM, "grid")
            self.text(scale(tick), self.height - BOTTOM + 18, write(tick), "middle")
        return scale

    def days(self, first: datetime, last: datetime) -> Callable[[datetime], float]:
        """The x axis of time; a label at some midnights, whole days apart."""
        span_seconds = max((last - first).total_seconds(), 3600.0)
        air_seconds = 0.03 * span_seconds
        scale = Scale(-air_seconds, span_seconds + air_seconds, LEFT, self.width - RIGHT)
        days = max(1, math.ceil(span_seconds / 86_400 / 7))
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        while midnight <= last + timedelta(days=1):
            x = scale((midnight - first).total_seconds())
            if LEFT <= x <= self.width - RIGHT - 20:
                self.line(x, TOP, x, self.height - BOTTOM, "grid")
                self.text(x, self.height - BOTTOM + 18, f"{midnight:%d %b}", "middle")
            midnight += timedelta(days=days)
        return lambda at: scale((at - first).total_seconds())

    def svg(self) -> str:
        return (
            f'<svg role="img" aria-label="{escape(self.said)}" viewBox="0 0 {self.width} {self.height}" '
            f'xmlns="http://www.w3.org/2000/svg">{"".join(self.parts)}</svg>'
        )
