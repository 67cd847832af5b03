"""The sampler's script in real shells, beside a real process: what it writes, that it ends, and what it costs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.android.parsers.absent import Absent
from agents.android.samples import AFTER, BEFORE, RUNNING, Samples, read
from agents.android.sampling import PROBE_COMMAND, SAMPLES, Plan, read_plan
from tests.unit.agents.android.samples import BATTERY, THERMAL

SHELLS = [shell for shell in (["mksh"], ["busybox", "sh"], ["dash"]) if shutil.which(shell[0])]
PLAN = Plan(gauge=(), rails=(), load=True, clusters=(), absent={})


@contextmanager
def sampler(
    shell: list[str], folder: Path, *, idle_seconds: float = 2, limit_seconds: float = 30
) -> Iterator[subprocess.Popen[bytes]]:
    tools = folder / "tools"
    tools.mkdir()
    for name, answer in (("battery", BATTERY), ("thermalservice", THERMAL)):
        (tools / name).write_text(answer)
    dumpsys = tools / "dumpsys"
    dumpsys.write_text(f'#!/bin/sh\ncat "{tools}/$1"\n')
    dumpsys.chmod(0o755)
    script = folder / "sampler.sh"
    script.write_text(PLAN.script(0.25, str(folder), cpus=(0,), idle_seconds=idle_seconds, limit_seconds=limit_seconds))
    path = f"{tools}:{os.environ['PATH']}"
    process = subprocess.Popen([*shell, str(script)], env={"PATH": path}, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=5)


def samples(folder: Path) -> Samples:
    found = read((folder / SAMPLES).read_text())
    assert not isinstance(found, Absent), found
    return found


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_it_sees_rest_work_and_rest_and_ends_by_itself(shell: list[str], tmp_path: Path) -> None:
    with sampler(shell, tmp_path) as running:
        time.sleep(1.5)
        work = subprocess.Popen(["sh", "-c", "while :; do :; done"])
        try:
            (tmp_path / "pid").write_text(f"{work.pid}\n")
            time.sleep(3)
        finally:
            work.kill()
            work.wait(timeout=5)
        (tmp_path / "exit").write_text("0\n")
        assert running.wait(timeout=10) == 0
    found = samples(tmp_path)
    assert found.ended and found.lost == 0 and found.period_seconds == 0.25 and set(found.keys) == {"s", "o"}
    for phase, seconds in ((BEFORE, 1.5), (RUNNING, 3.0), (AFTER, 2.0)):
        span = found.span(phase)
        assert not isinstance(span, Absent) and span.seconds == pytest.approx(seconds, abs=1.3)
        assert found.coverage_ratio("s", span) > 0.95
    assert len(found.batteries) >= 3 and found.batteries[0][1].volts == 3.911, "at every change of phase"
    told = found.telemetry(PLAN, cpu_count=os.cpu_count() or 1, emulator=False)
    assert told.background_cpu_ratio is not None and told.powered is False
    assert told.temperature_max_celsius == 44.25 and told.thermal_status_max == 1
    assert told.sampler_cpu_ratio is not None and told.sampler_cpu_ratio < 0.1


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_it_outlives_neither_its_limit_nor_its_folder(shell: list[str], tmp_path: Path) -> None:
    with sampler(shell, tmp_path, limit_seconds=1) as running:
        assert running.wait(timeout=8) == 0
    assert samples(tmp_path).ended
    (tmp_path / "gone").mkdir()
    with sampler(shell, tmp_path / "gone") as running:
        time.sleep(1)
        (tmp_path / "gone" / SAMPLES).unlink()
        assert running.wait(timeout=8) == 0


def test_a_file_that_is_still_written_is_whole_up_to_its_last_line(tmp_path: Path) -> None:
    with sampler(SHELLS[0], tmp_path):
        time.sleep(2)
        text = (tmp_path / SAMPLES).read_text()
    found = read(text[:-5])
    assert not isinstance(found, Absent) and not found.ended and found.lost == 0 and len(found.ticks) > 4


def test_the_probe_runs_in_a_plain_shell() -> None:
    done = subprocess.run(["sh", "-c", PROBE_COMMAND], capture_output=True, text=True, timeout=30, check=False)
    found = read_plan(done.stdout)
    assert found.load
    assert {"current", "voltage", "charge"} == set(found.gauge) | (set(found.absent) & {"current", "voltage", "charge"})
