"""The coordinator's pure core: how fast it hands jobs to devices, and what one event costs, as the farm grows.

    python -m tests.bench.scheduler

Per size, a farm of D devices gets Q jobs of 8 users in 3 priorities, with a quota that binds, and works them off: every
device reports that its attempt started and ended. Timed is each ``FarmState.apply``, whose end of an attempt includes
the choice and the lease of the next job; an assignment is all that ``apply`` does between two jobs of a device. The
garbage collector stays on, as in the coordinator; ``gc_longest_pause_seconds`` is its longest stop, submission
included: a full collection, which grows with the jobs known, and hits one event in very many.
"""

from __future__ import annotations

import contextlib
import gc
import random
import statistics
import time
from collections import deque
from collections.abc import Iterator

from farm.coordinator.events import AttemptEnded, AttemptStarted, Continued, DeviceChecked, DeviceSeen, Event, RunAdded
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
            self.state.apply(DeviceChecked(name, True, ""))
        began = time.perf_counter()
        for event in runs(names, queued):
            self.take(self.state.apply(event))
            while self.state.is_behind:
                self.take(self.state.apply(Continued()))
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


def measure(devices: int, queued: int) -> dict[str, float]:
    gc.collect()
    with pauses() as pause_seconds:
        load = Load(devices, queued)
        load.work_off()
    quantiles = statistics.quantiles(load.seconds, n=100, method="inclusive")
    return {
        "assignments_per_second": load.assignments / sum(load.seconds),
        "event_p50_seconds": quantiles[49],
        "event_p99_seconds": quantiles[98],
        "event_max_seconds": max(load.seconds),
        "submit_seconds_per_job": load.submit_seconds_per_job,
        "gc_longest_pause_seconds": max(pause_seconds, default=0.0),
    }


@contextlib.contextmanager
def pauses() -> Iterator[list[float]]:
    """The stops of the garbage collector meanwhile."""
    seconds: list[float] = []
    began = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            seconds.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    try:
        yield seconds
    finally:
        gc.callbacks.remove(note)


def main() -> None:
    figures: dict[str, float | int] = {"repeats": REPEATS, "users": USERS}
    rows: list[list[object]] = []
    for devices, queued in SIZES:
        repeats = [measure(devices, queued) for _ in range(REPEATS)]
        median = {key: statistics.median(repeat[key] for repeat in repeats) for key in repeats[0]}
        rows = rows or [["devices", "queued", *median]]
        rows.append([devices, queued, *median.values()])
        figures |= {f"{devices}x{queued}_{key}": value for key, value in median.items()}
    print(report.table(rows))
    print(f"\nWritten to {report.write('scheduler', figures)}.")


if __name__ == "__main__":
    main()
