"""``kill -9`` of the process that keeps the sweeps going, again and again: every due night has one run in the end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from farm.config import Settings
from farm.store.database import Store
from farm.sweeps import firing
from farm.types import NightState
from tests.integration.sweeps.conftest import sweep_spec

SWEEPS = 8
KILLS = 5
AWAY = timedelta(days=2)


def start(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FARM_")}
    with log.open("ab") as output:
        command = [sys.executable, "-m", "farm.sweeps"]
        return subprocess.Popen(command, env=environment | settings.as_environment(), stdout=output, stderr=output)


def progress(store: Store) -> int:
    """Anything that the process has written counts."""
    states = (NightState.SKIPPED, NightState.PREPARING, NightState.RUNNING)
    with store.reading() as reading:
        return sum((index + 1) * len(reading.nights_in(state)) for index, state in enumerate(states))


def test_every_due_night_has_one_run(store: Store, settings: Settings, tmp_path: Path) -> None:
    begin = datetime.now(UTC) - AWAY
    names = [f"sweep-{number:02d}" for number in range(SWEEPS)]
    with store.transaction() as tx:
        for name in names:
            firing.apply(tx, sweep_spec(name, cron="0 */6 * * *"), "ada", begin)
    chance = random.Random(3)  # noqa: S311
    for _ in range(KILLS):
        process = start(settings, tmp_path / "log")
        before, deadline = progress(store), time.monotonic() + 30
        while progress(store) == before and time.monotonic() < deadline and not finished(store, names):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.wait(10)
    process = start(settings, tmp_path / "log")
    try:
        deadline = time.monotonic() + 60
        while not finished(store, names):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
    finally:
        process.terminate()
        # The killed ones may have left it nothing to do: then it ends before it listens to signals.
        assert process.wait(30) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
    with store.reading() as reading:
        runs = {run.id: run for run in reading.runs(500)}
        nights = [night for name in names for night in reading.nights(name)]
    due = {(night.sweep, night.due_at) for night in nights}
    assert len(due) == len(nights)
    assert all(len([1 for night in nights if night.sweep == name]) >= AWAY.days * 4 for name in names)
    running = [night for night in nights if night.state is NightState.RUNNING]
    assert sorted(night.sweep for night in running) == names, "the last one of each"
    assert sorted(night.run_id for night in running if night.run_id) == sorted(runs), "and no run without a night"
    assert {night.state for night in nights} == {NightState.RUNNING, NightState.SKIPPED}


def finished(store: Store, names: list[str]) -> bool:
    with store.reading() as reading:
        return len(reading.nights_in(NightState.RUNNING)) == len(names)
