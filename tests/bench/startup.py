"""How long it takes until a farm can be used, and what it holds in memory when it does nothing.

python -m tests.bench.startup
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import farm
from farm.types import HeadStarted
from tests.bench import report

IMPORT_REPEATS = 11
START_REPEATS = 3
SETTLE_SECONDS = 8.0  # at rest: after discovery, adoption and the first heartbeats


def import_seconds(module: str) -> float:
    """Of ``import MODULE`` in a fresh interpreter, the interpreter's own start not counted."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return float(done.stdout)


@contextmanager
def head(state_dir: Path) -> Iterator[HeadStarted]:
    """``farm up`` from its command until it says that it takes submissions: an embedded farm waits for a device."""
    command = [sys.executable, "-m", "farm.cli.app", "up", "--port", "0", "--state-dir", str(state_dir), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"FARM_AGENT_ANDROID": "0"})
    try:
        assert process.stdout is not None
        yield HeadStarted.model_validate_json(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def tree() -> dict[str, psutil.Process]:
    """The processes of the farm that this script started, by what they are."""
    known: dict[str, psutil.Process] = {}
    kinds: list[tuple[str, Callable[[str], bool]]] = [
        ("agent", lambda line: "ray::AgentActor" in line),
        ("api", lambda line: "farm.server" in line),
        ("coordinator", lambda line: "farm.coordinator" in line),
        ("sweeps", lambda line: "farm.sweeps" in line),
        ("supervisor", lambda line: "farm.cli.app up" in line),
    ]
    for process in psutil.Process().children(recursive=True):
        line = " ".join(process.cmdline())
        name = next((kind for kind, matches in kinds if matches(line)), f"ray {process.pid}")
        known[name] = process
    return known


def main() -> None:
    farm_imports = [import_seconds("farm") for _ in range(IMPORT_REPEATS)]
    client_imports = [import_seconds("farm.client") for _ in range(IMPORT_REPEATS)]
    starts: list[float] = []
    devices: list[float] = []
    for _ in range(START_REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            with head(Path(folder) / "state") as started:
                starts.append(time.monotonic() - began)
                with farm.Client(started.url, token=started.token) as client:
                    while not client.devices():
                        time.sleep(0.05)
                devices.append(time.monotonic() - began)
                if len(starts) == START_REPEATS:
                    time.sleep(SETTLE_SECONDS)
                    memory = {name: process.memory_info().rss for name, process in tree().items()}
    ray_bytes = sum(rss for name, rss in memory.items() if name.startswith("ray "))
    head_bytes = memory["api"] + memory["coordinator"] + memory["supervisor"] + memory["sweeps"]
    figures = {
        "import_farm_seconds": statistics.median(farm_imports),
        "import_client_seconds": statistics.median(client_imports),
        "head_ready_seconds": statistics.median(starts),
        "first_device_seconds": statistics.median(devices),
        "head_rss_bytes": head_bytes,
        "api_rss_bytes": memory["api"],
        "coordinator_rss_bytes": memory["coordinator"],
        "supervisor_rss_bytes": memory["supervisor"],
        "sweeps_rss_bytes": memory["sweeps"],
        "agent_rss_bytes": memory["agent"],
        "embedded_ray_rss_bytes": ray_bytes,
    }
    rows = [("figure", "value")]
    rows += [
        (name, f"{value / 2**20:.0f} MiB" if name.endswith("_bytes") else f"{value:.3f} s")
        for name, value in figures.items()
    ]
    print(report.table(rows))
    print(f"\nMedians of {IMPORT_REPEATS} imports and {START_REPEATS} starts.")
    print(f"Written to {report.write('startup', figures)}.")


if __name__ == "__main__":
    main()
