"""Strikes by a seed, times how long each takes to be made good, and tells what it does."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.bench import report
from tests.chaos.faults import Fault
from tests.chaos.fleet import Fleet

_LONGEST_PAUSE_SECONDS = 2.0


@dataclass
class Script:
    """``recovery_limit_seconds``: what may pass between a fault and the next result. ``double_ratio``: how often
    the next fault does not wait for the recovery from this one."""

    fleet: Fleet
    seed: int
    recovery_limit_seconds: float = 120.0
    double_ratio: float = 0.0
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    strikes: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)  # noqa: S311
        self._began = time.monotonic()
        self.note(f"seed {self.seed}")

    def play(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if self._strike(fault) and self.rng.random() >= self.double_ratio:
                self.await_result(fault)
            self.rest(self.rng.uniform(0, _LONGEST_PAUSE_SECONDS))

    def _strike(self, fault: Fault) -> bool:
        deadline = time.monotonic() + 30  # for what comes and goes: harnesses, builds
        while not (struck := fault.strike(self.fleet, self.rng)) and time.monotonic() < deadline:
            self.rest(0.05)
        self.note(f"{fault.name}: {struck or 'nothing to strike'}")
        self.strikes += bool(struck)
        return bool(struck)

    def await_result(self, fault: Fault) -> float:
        """Seconds until a measurement that ended after now is committed."""
        began, struck_at = time.monotonic(), datetime.now(UTC)
        while not self.fleet.finished_since(struck_at, fault.agent):
            assert time.monotonic() - began < self.recovery_limit_seconds, f"no result after {fault.name}"
            self.rest(0.05)
        seconds = time.monotonic() - began
        self.recoveries.setdefault(fault.name, []).append(seconds)
        self.note(f"{fault.name}: next result {f'of {fault.agent} ' if fault.agent else ''}after {seconds:.1f} s")
        return seconds

    def longest_gap(self, fault: Fault, window_seconds: float = 15.0) -> float:
        """The longest time without a new result, from now until one comes after the window: a part that dies may take
        the others along some seconds later."""
        query = "SELECT count(*) FROM attempts WHERE state = 'finished' AND agent LIKE :agent"
        began = last = time.monotonic()
        longest, count = 0.0, None
        while last - began < window_seconds:
            assert time.monotonic() - last < self.recovery_limit_seconds, f"no result after {fault.name}"
            self.rest(0.05)
            seen = self.fleet.scalar(query, agent=fault.agent or "%")
            if seen is not None and seen != count:
                now = time.monotonic()
                longest, last, count = max(longest, now - last), now, seen
        self.note(f"{fault.name}: {longest:.1f} s without a result")
        return longest

    def rest(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self.fleet.keep_running()
            if (left := deadline - time.monotonic()) <= 0:
                return
            time.sleep(min(0.05, left))

    def note(self, text: str) -> None:
        """Printed as it happens: pytest shows it where a test fails, and `make chaos` always."""
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def table(self) -> str:
        rows = [
            (name, len(seconds), statistics.median(seconds), max(seconds)) for name, seconds in self.recoveries.items()
        ]
        return report.table([("fault", "times", "median seconds to the next result", "longest"), *rows])
