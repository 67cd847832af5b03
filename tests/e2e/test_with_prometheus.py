"""``farm up --with-prometheus`` as a user has it: everything arrives by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import farm
from farm.types import HeadStarted

torch = pytest.importorskip("torch", reason="needs the torch extra")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on PATH")]

DEVICES = 5


def eventually(found: Callable[[], float], wanted: float) -> None:
    deadline = time.monotonic() + 90
    while (last := found()) != wanted:
        assert time.monotonic() < deadline, f"{last}, not {wanted}"
        time.sleep(0.5)


def test_results_are_pushed_and_state_is_scraped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "farm.cli.app", "up", "--port", "0", "--state-dir", str(tmp_path / "state")]
    command += ["--with-prometheus", "--virtual-devices", str(DEVICES), "--json"]
    head = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert head.stdout is not None
        started = HeadStarted.model_validate_json(head.stdout.readline())
        assert started.prometheus_url is not None
        assert started.token is not None

        def count(query: str) -> float:
            url = f"{started.prometheus_url}/api/v1/query"
            answer = httpx.post(url, data={"query": query}, timeout=20, trust_env=False)
            result = answer.json()["data"]["result"]
            return float(result[0]["value"][1]) if result else 0.0

        with farm.Client(started.url, token=started.token) as client:
            deadline = time.monotonic() + 60
            while len(client.devices("virtual=true")) < DEVICES and time.monotonic() < deadline:
                time.sleep(0.2)
            run = client.submit(
                torch.nn.Linear(8, 8),
                example_inputs=(torch.ones(1, 8),),
                recipes=["pytorch"],
                devices="virtual=true, each",
                protocol=farm.Protocol(min_warmup_seconds=0, min_samples=20, max_samples=20, min_seconds=0),
            )
            run.wait()
            finished = sum(outcome.result is not None for outcome in run.outcomes())
        assert finished > 0
        eventually(lambda: count("count(last_over_time(farm_result_trusted[1h]))"), finished)
        eventually(lambda: count('sum(farm_device_online{device=~".*virtual.*"})'), DEVICES)
        eventually(lambda: count("count(farm_device_temperature_celsius{sensor='soc'})"), DEVICES)
        eventually(lambda: count("sum(farm_results_total)"), DEVICES)
        assert count("farm_run_duration_seconds") > 0
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)
    assert head.returncode == 0
