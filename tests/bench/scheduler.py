"""The coordinator's pure core: how fast it hands jobs to devices, and what one event costs, as the farm grows.

    python -m tests.bench.scheduler

Per size, a farm of D devices gets Q jobs of 8 users in 3 priorities, with a quota that binds, and works them off: every
device reports that its attempt started and ended. Timed is each ``FarmState.apply``, whose end of an attempt includes
the choice and the lease of the next job; an assignment is all that ``apply`` does between two jobs of a device. The
garbage collector stays on, as in the coordinator: ``event_max_seconds`` is its full collection where that falls into an
event; ``frozen_event_max_seconds`` is the same with ``gc.freeze`` after loading.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections import deque

from farm.coordinator.events import AttemptEnded, AttemptStarted, DeviceSeen, Event, RunAdded
from farm.coordinator.instructions import Instruction, StartAttempt
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.types import BuildState, Priority
from tests.bench import report

SIZES = ((100, 1_000), (1_000, 10_000), (10_000, 200_000))
USERS = 8
JOBS_PER_RUN = 1_000
RECIPES = 8
PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "nightly")
REPEATS = 3


class Load:
    """A farm and what its agents still have to say."""

    def __init__(self, devices: int, queued: int) -> None:
        self.state = FarmState("head", build_slots=2, devices_per_user=devices // (USERS - 1))
        self.reports: deque[Event] = deque()
        self.seconds: list[float] = []
        self.assignments = 0
        names = [f"device-{number}" for number in range(devices)]
        for number, name in enumerate(names):
            self.state.apply(DeviceSeen(name, f"agent-{number // 50}", f"host-{number // 50}"))
        began = time.perf_counter()
        for event in runs(names, queued):
            self.take(self.state.apply(event))
        self.submit_seconds_per_job = (time.perf_counter() - began) / queued

    def take(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            if isinstance(instruction, StartAttempt):
                self.assignments += 1
                self.reports.append(AttemptStarted(instruction.job_id, instruction.epoch))
                self.reports.append(AttemptEnded(instruction.job_id, instruction.epoch))

    def work_off(self) -> None:
        """Until no job is left; ``seconds`` and ``assignments`` start anew."""
        self.seconds, self.assignments = [], 0
        while self.reports:
            event = self.reports.popleft()
            began = time.perf_counter()
            instructions = self.state.apply(event)
            self.seconds.append(time.perf_counter() - began)
            self.take(instructions)
        assert not self.state.jobs, "every job has ended"


def runs(devices: list[str], queued: int) -> list[RunAdded]:
    """Runs of JOBS_PER_RUN jobs: on each of their devices, RECIPES variants."""
    rng = random.Random(1)  # noqa: S311 - the same farm every time
    events = []
    for first in range(0, queued, JOBS_PER_RUN):
        run = first // JOBS_PER_RUN + 1
        keys = [f"{run:04}-{recipe}" for recipe in range(RECIPES)]
        chosen = rng.sample(devices, min(JOBS_PER_RUN // RECIPES, len(devices)))
        jobs = tuple(
            JobView(
                first + number + 1,
                run,
                f"user-{run % USERS}",
                chosen[number // RECIPES % len(chosen)],
                frozenset((keys[number % RECIPES],)),
                PRIORITIES[run % len(PRIORITIES)],
            )
            for number in range(JOBS_PER_RUN)
        )
        events.append(RunAdded(run, jobs, tuple(BuildView(key, BuildState.BUILT) for key in keys)))
    return events


def measure(devices: int, queued: int, *, frozen: bool) -> dict[str, float]:
    load = Load(devices, queued)
    gc.collect()
    if frozen:
        gc.freeze()
    load.work_off()
    gc.unfreeze()
    quantiles = statistics.quantiles(load.seconds, n=100, method="inclusive")
    return {
        "assignments_per_second": load.assignments / sum(load.seconds),
        "event_p50_seconds": quantiles[49],
        "event_p99_seconds": quantiles[98],
        "event_max_seconds": max(load.seconds),
        "submit_seconds_per_job": load.submit_seconds_per_job,
    }


def main() -> None:
    figures: dict[str, float | int] = {"repeats": REPEATS, "users": USERS}
    rows: list[list[object]] = []
    for devices, queued in SIZES:
        repeats = [measure(devices, queued, frozen=False) for _ in range(REPEATS)]
        median = {key: statistics.median(repeat[key] for repeat in repeats) for key in repeats[0]}
        median["frozen_event_max_seconds"] = measure(devices, queued, frozen=True)["event_max_seconds"]
        rows = rows or [["devices", "queued", *median]]
        rows.append([devices, queued, *median.values()])
        figures |= {f"{devices}x{queued}_{key}": value for key, value in median.items()}
    print(report.table(rows))
    print(f"\nWritten to {report.write('scheduler', figures)}.")


if __name__ == "__main__":
    main()
