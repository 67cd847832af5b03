"""Whose matter it is when a harness does not end in its time: told from how far it came."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from agents.drivers.host import HostDriver, _started_ticks
from agents.harness.records import Writer
from farm.errors import DeviceError, FarmError, RecipeError
from farm.types import Protocol
from tests.unit.agents.virtual.fleet import lease

LIMITS = Protocol(max_seconds=0.1, timeout_seconds=0.2)


def end(folder: Path, phases: dict[str, float]) -> FarmError:
    """Of an attempt that came through these phases (names, seconds) and then went on for too long."""
    with Writer(folder / "records.jsonl") as writer:
        for name, seconds in phases.items():
            writer.write("phase", name=name, seconds=seconds)
    harness = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True, cwd=folder
    )
    handle = json.dumps([harness.pid, _started_ticks(harness.pid)])
    given = lease(device_id="bench-cpu", protocol=LIMITS)
    with pytest.raises(FarmError) as caught:
        asyncio.run(HostDriver("bench", folder).collect(given, handle, folder, adopted=False))
    assert harness.wait(timeout=10) == -9
    return caught.value


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        ({"import": 0.01, "load": 0.01}, "the first inference had not ended"),
        ({"import": 0.01, "load": 0.01, "first_inference": 0.15}, "the first inference took 0.15 s"),
    ],
)
def test_a_program_that_is_too_slow_says_nothing_of_the_device(
    tmp_path: Path, phases: dict[str, float], says: str
) -> None:
    error = end(tmp_path, phases)
    assert isinstance(error, RecipeError)
    assert says in error.message
    assert "0.2 s" in error.message


@pytest.mark.parametrize("phases", [{}, {"import": 0.01}, {"import": 0.01, "load": 0.01, "first_inference": 0.05}])
def test_what_hangs_elsewhere_may_be_the_devices_doing(tmp_path: Path, phases: dict[str, float]) -> None:
    assert isinstance(end(tmp_path, phases), DeviceError)
