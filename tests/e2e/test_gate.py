"""What makes things slower does not pass, what does not passes: on a virtual fleet, by the command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import farm
from farm.types import Role
from tests.e2e.conftest import SmallNet, torch

pytestmark = [pytest.mark.real_models, pytest.mark.slow]

PROFILE = """
seed: 3
time_scale: 0.02
kinds:
  - name: phone
    platform: android
    soc: VSOC-8
    abi: arm64-v8a
    os_version: "15"
    memory_gib: 8
    cpu_count: 8
    clock_ghz: 2.8
    speed: {speed}
    latency: {{median_seconds: 0.012, noise: 0.01}}
    thermal: {{rise_celsius: 1, time_constant_seconds: 600, throttle_celsius: 60, limit_celsius: 70}}
"""


@contextmanager
def farm_of(folder: Path, speed: float) -> Iterator[farm.Client]:
    """On the same state each time; its three phones are as fast as ``speed`` says."""
    profile = folder / f"speed-{speed}.yaml"
    profile.write_text(PROFILE.format(speed=speed))
    environment = {
        "FARM_AGENT_VIRTUAL_DEVICES": "3",
        "FARM_AGENT_VIRTUAL_PROFILE": str(profile),
        "FARM_AGENT_HOST_DEVICE": "false",
    }
    with farm.embedded_farm(folder / "state", environment) as client:
        deadline = time.monotonic() + 60
        while len([device for device in client.devices() if device.state == "online"]) < 3:
            assert time.monotonic() < deadline, "the virtual fleet did not show"
            time.sleep(0.2)
        yield client


def measure(client: farm.Client, model: str, name: str) -> int:
    run = client.submit(model, recipes=["pytorch"], devices="virtual=true", name=name).wait(timeout_seconds=180)
    return run.id


def gate(folder: Path, client: farm.Client, run: int) -> tuple[int, str, str]:
    """Exit code, output, summary."""
    from farm.config import Settings
    from farm.server.tokens import issue_token
    from farm.store.database import Store

    store = Store(Settings(state_dir=folder / "state").resolved_database_url)
    token = issue_token(store, f"ci-{run}", Role.VIEWER)  # reading is enough
    store.close()
    summary = folder / f"summary-{run}.md"
    done = subprocess.run(
        [sys.executable, "-m", "farm.cli.app", "gate", str(run), "--baseline", "main",
         "--max-regression", "latency_p50=5%", "--summary", str(summary)],
        env=os.environ | {"FARM_URL": client.url, "FARM_TOKEN": token},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout, summary.read_text()


def test_a_planted_slow_down_does_not_pass(tmp_path: Path, model: SmallNet, image: torch.Tensor) -> None:
    with farm_of(tmp_path, speed=1.0) as client:
        client.add_model(model, example_inputs=(image,), name="net")
        measure(client, "net", "main")
        code, out, summary = gate(tmp_path, client, measure(client, "net", "pr-1"))
        assert code == 0, out
        assert "Gate passed: all 3 rows" in summary
        assert "simulated" in out
    with farm_of(tmp_path, speed=0.9) as client:  # 11 % slower
        code, out, summary = gate(tmp_path, client, measure(client, "net", "pr-2"))
        assert code == 1, out
        assert "Gate failed: 3 of 3 rows are worse than allowed." in summary
        assert "system was" not in summary
        assert "byte for byte" in summary  # the model is not to blame
