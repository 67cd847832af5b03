"""``python -m farm.server`` as an operator runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from farm.server.tokens import new_token, token_sha256
from farm.store.database import Store
from farm.types import Role
from tests.values import NOW, device, model_spec, run_spec


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def environment(state_dir: Path, **settings: object) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FARM_")}
    return kept | {"FARM_STATE_DIR": str(state_dir)} | {f"FARM_{key}": str(value) for key, value in settings.items()}


@contextmanager
def started(state_dir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.server"],
        env=environment(state_dir, PORT=port),
        cwd=Path(__file__).parents[3],
        stderr=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/v1/health", timeout=5, trust_env=False)
                break
            except httpx.TransportError:
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def run_to_end(state_dir: Path, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "farm.server"],
        env=environment(state_dir, **settings),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with started(tmp_path, port) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert f"http://127.0.0.1:{port}" in said.decode()
    assert b"Traceback" not in said


def test_it_stops_in_time_although_somebody_follows_a_run(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/farm.db")
    store.migrate()
    token = new_token()
    with store.transaction() as t:
        t.add_token("ada", Role.USER, token_sha256(token), NOW)
        t.upsert_device(device(), NOW)
        model = t.add_model(model_spec(), "ada", NOW)
        run = t.add_run(run_spec(), model, [], {}, "ada", datetime.now(UTC))
    store.close()
    port = free_port()
    with started(tmp_path, port) as process:
        url = f"http://127.0.0.1:{port}/api/v1/runs/{run.id}/events"
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.stream("GET", url, headers=headers, timeout=30, trust_env=False) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            stopped = time.monotonic()
            for _ in lines:
                pass
        _, said = process.communicate(timeout=20)
        assert time.monotonic() - stopped < 8
    assert process.returncode == 0, said


def test_answers_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    """With Nagle's algorithm on, most answers on a kept connection take 40 ms and more."""
    port = free_port()
    with started(tmp_path, port), httpx.Client(timeout=10, trust_env=False) as http:
        seconds = []
        for _ in range(60):
            begun = time.monotonic()
            http.get(f"http://127.0.0.1:{port}/api/v1/health")
            seconds.append(time.monotonic() - begun)
    assert sorted(seconds)[20] < 0.035


def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    port = free_port()
    token = new_token()
    with started(tmp_path, port) as process:
        store = Store(f"sqlite:///{tmp_path}/farm.db")
        with store.transaction() as t:
            t.add_token("ada", Role.USER, token_sha256(token), NOW)
        process.kill()
        process.wait(timeout=10)
    with started(tmp_path, port):
        response = httpx.get(
            f"http://127.0.0.1:{port}/api/v1/whoami",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
            trust_env=False,
        )
    assert response.json() == {"name": "ada", "role": "user"}


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_to_end(tmp_path, PORT=taken.getsockname()[1])
    assert done.returncode == 1
    assert "is taken" in done.stderr
    assert "FARM_PORT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HOST": "203.0.113.1"}, "cannot listen at 203.0.113.1"),
        ({"PORT": "eighty"}, "FARM_PORT"),
        ({"PORT": "0", "DATABASE_URL": "nonsense"}, "database_url"),
        ({"PORT": "0", "STORE_URL": "carrier-pigeon://roof"}, "store_url"),
    ],
)
def test_settings_that_cannot_be_used_are_said(tmp_path: Path, settings: dict, says: str) -> None:
    done = run_to_end(tmp_path, **settings)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_ray_nor_a_runtime_is_imported(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
import farm.server.__main__
from farm.config import Settings
from farm.recipes import keys, presets
from farm.server.app import create_app
create_app(Settings(state_dir=Path(sys.argv[1])))
for info in presets.infos():
    if info.usable:
        keys.tool_versions(info.recipe)
print(sorted({"ray", "torch", "scipy", "pandas", "plotly", "onnxruntime", "executorch"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr
