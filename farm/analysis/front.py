"""The Pareto front of points whose coordinates are known with an uncertainty. Pure: also the search uses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

Better = Callable[[T, T], bool]  # whether the first is certainly better than the second


def dominates(one: Sequence[T], other: Sequence[T], better: Sequence[Better[T]]) -> bool:
    """Certainly better in one coordinate at least, and certainly worse in none. ``better``: of each coordinate."""
    pairs = list(zip(one, other, better, strict=True))
    return any(wins(a, b) for a, b, wins in pairs) and not any(wins(b, a) for a, b, wins in pairs)


def front(beats: Sequence[Sequence[bool]]) -> list[int]:
    """Indices of what nothing beats; ``beats[i][j]``: i beats j.

    Intervals may let i beat j, j beat k and k beat i (each in another coordinate, tied in the others). Such a circle
    stays on the front as a whole unless something outside beats a member of it: T. Schwartz, "Rationality and the myth
    of the maximum", Nous 6 (1972) 97-117. So there always is a front, and in the order of numbers it is the usual one.
    """
    size = range(len(beats))
    reaches = [list(row) for row in beats]
    for middle in size:
        for start in size:
            if reaches[start][middle]:
                reaches[start] = [a or b for a, b in zip(reaches[start], reaches[middle], strict=True)]
    return [index for index in size if all(reaches[index][other] or not reaches[other][index] for other in size)]
