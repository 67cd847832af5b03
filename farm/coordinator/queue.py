"""The order in which the jobs that are ready for one device get it.

Higher priorities go first; a priority that was passed over ``AGES_AFTER`` times in a row goes next, once, so that none
starves. Users of one priority share the device by stride scheduling (Waldspurger and Weihl, "Stride Scheduling:
Deterministic Proportional-Share Resource Management", MIT/LCS/TM-528, 1995) with equal tickets and the job as quantum:
the user with the lowest pass goes next and pays one per job. Who comes anew starts at the lowest pass of those who
wait. A user's jobs go in the order of submission. Up to ``TOGETHER`` jobs of one run stay next to each other, so that
slow drift of the machine touches the variants of a model alike; so two users who both have jobs ready all the time
never differ by more than ``TOGETHER`` jobs.

Everything is a sorted list: a change is a binary search and a move of memory.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import NamedTuple

from farm.types import Priority

AGES_AFTER = 20  # turns
TOGETHER = 16  # jobs

LEVELS: dict[Priority, int] = {"interactive": 0, "normal": 1, "nightly": 2}


class Entry(NamedTuple):
    """A job that is ready."""

    run_id: int
    job_id: int
    queued_at: int


class Turn(NamedTuple):
    """A job that may start on a device. ``due`` orders devices where a user's quota allows fewer than are ready: the
    older first, a lower priority as if it had come ``AGES_AFTER`` attempts of that user later."""

    due: int
    job_id: int
    run_id: int
    user: str
    level: int


class Level:
    """The jobs of one priority."""

    __slots__ = ("_last", "_order", "_passes", "_places", "_streak", "lines", "passed_over")

    def __init__(self) -> None:
        self.lines: dict[str, list[Entry]] = {}  # by user
        self.passed_over = 0
        self._order: list[tuple[int, int, str]] = []  # (pass, job that brought the user here, user)
        self._places: dict[str, tuple[int, int, str]] = {}  # user -> what is in _order
        self._passes: dict[str, int] = {}  # of users who have nothing ready now
        self._last: tuple[str, int] | None = None  # user and run
        self._streak = 0

    def add(self, user: str, entry: Entry) -> None:
        line = self.lines.get(user)
        if line is None:
            line = self.lines[user] = []
            lowest = self._order[0][0] if self._order else 0
            self._enter(user, max(self._passes.pop(user, 0), lowest), entry.job_id)
        insort(line, entry)

    def remove(self, user: str, entry: Entry) -> None:
        line = self.lines[user]
        del line[bisect_left(line, entry)]
        if not line:
            self._leave(user, self._places[user][0])

    def first(self, level: int, at_quota: Callable[[str], bool]) -> Turn | None:
        if self._last and self._streak < TOGETHER and not at_quota(self._last[0]):
            user, run_id = self._last
            line = self.lines.get(user, [])
            at = bisect_left(line, (run_id,))
            if at < len(line) and line[at].run_id == run_id:
                return _turn(line[at], user, level)
        for _, _, user in self._order:
            if not at_quota(user):
                return _turn(self.lines[user][0], user, level)
        return None

    def take(self, turn: Turn, entry: Entry) -> None:
        user = turn.user
        if self._last == (user, turn.run_id) and self._streak < TOGETHER:
            self._streak += 1
        else:
            self._last, self._streak = (user, turn.run_id), 1
        line = self.lines[user]
        del line[bisect_left(line, entry)]
        paid = self._places[user][0] + 1
        if line:
            self._withdraw(user)
            self._enter(user, paid, line[0].job_id)
        else:
            self._leave(user, paid)

    def ahead(self, user: str, entry: Entry) -> int:
        """How many jobs of this priority go before it, if nobody comes and nothing is kept together."""
        own = bisect_left(self.lines[user], entry)
        mine = (self._places[user][0] + own, self._places[user][1])
        others = 0
        for other, (passed, tie, _) in self._places.items():
            if other != user:
                turns = mine[0] - passed + (tie < mine[1])
                others += min(len(self.lines[other]), max(0, turns))
        return own + others

    def _enter(self, user: str, passed: int, tie: int) -> None:
        place = self._places[user] = (passed, tie, user)
        insort(self._order, place)

    def _withdraw(self, user: str) -> int:
        place = self._places.pop(user)
        del self._order[bisect_left(self._order, place)]
        return place[0]

    def _leave(self, user: str, passed: int) -> None:
        self._withdraw(user)
        del self.lines[user]
        self._passes[user] = passed  # who comes and goes owes what was taken


class DeviceQueue:
    """The jobs that are ready for one device. A priority without jobs is forgotten, and with it who owes what."""

    __slots__ = ("levels",)

    def __init__(self) -> None:
        self.levels: dict[int, Level] = {}

    def __bool__(self) -> bool:
        return bool(self.levels)

    def add(self, level: int, user: str, entry: Entry) -> None:
        if level not in self.levels:
            self.levels[level] = Level()
        self.levels[level].add(user, entry)

    def remove(self, level: int, user: str, entry: Entry) -> None:
        self.levels[level].remove(user, entry)
        self._tidy(level)

    def users(self) -> set[str]:
        return {user for level in self.levels.values() for user in level.lines}

    def first(self, at_quota: Callable[[str], bool]) -> Turn | None:
        """The job that is next, or None when all who wait have as many devices as they may."""
        for level in self._in_turn():
            turn = self.levels[level].first(level, at_quota)
            if turn is not None:
                return turn
        return None

    def take(self, turn: Turn, entry: Entry) -> None:
        self.levels[turn.level].take(turn, entry)
        for number, level in self.levels.items():
            if number > turn.level:
                level.passed_over += 1
        self.levels[turn.level].passed_over = 0
        self._tidy(turn.level)

    def ahead(self, level: int, user: str, entry: Entry) -> int:
        """How many jobs go before it, as things are now."""
        higher = sum(len(line) for n, other in self.levels.items() if n < level for line in other.lines.values())
        return higher + self.levels[level].ahead(user, entry)

    def _in_turn(self) -> Iterator[int]:
        numbers = sorted(self.levels)
        starved = [number for number in numbers if self.levels[number].passed_over >= AGES_AFTER]
        yield from starved[::-1]
        yield from (number for number in numbers if number not in starved)

    def _tidy(self, level: int) -> None:
        if not self.levels[level].lines:
            del self.levels[level]


def _turn(entry: Entry, user: str, level: int) -> Turn:
    return Turn(entry.queued_at + level * AGES_AFTER, entry.job_id, entry.run_id, user, level)
