"""A farm of one's own for the length of a ``with`` block: for notebooks, demos, tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from farm.client import Client
from farm.config import Settings, load
from farm.errors import InfrastructureError
from farm.types import DeviceState, HeadStarted, Role

_STOP_SECONDS = 60.0
_QUIET = {"FARM_AGENT_ANDROID": "false"}  # a farm for a moment starts no adb server
_DEVICE_SECONDS = 60.0
_LOOK_SECONDS = 0.2


@contextlib.contextmanager
def embedded_farm(state_dir: Path | str, environment: Mapping[str, str] | None = None) -> Iterator[Client]:
    """``farm up`` on a free loopback port, and a client of it with a token that ends with the block.

    ``state_dir`` is kept: a later farm on it knows the models, builds and results of this one.
    ``environment``: more ``FARM_*`` settings; without ``FARM_AGENT_ANDROID`` phones are left alone. Needs the
    ``head`` extra. Raises InfrastructureError when the farm does not start (its reason is on stderr).
    """
    command = [sys.executable, "-m", "farm.cli.app", "up", "--port", "0", "--state-dir", str(state_dir), "--json"]
    head = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=_QUIET | os.environ | dict(environment or {})
    )
    try:
        line = head.stdout.readline() if head.stdout else ""
        if not line:
            raise InfrastructureError("The farm did not start.", remedy="Its reason is on stderr; try `farm doctor`.")
        started = HeadStarted.model_validate_json(line)
        with _token(Path(started.state_dir)) as token:
            client = Client(started.url, token=token)
            try:
                _await_device(client, {**os.environ, **(environment or {})})
                yield client
            finally:
                client.close()
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(_STOP_SECONDS)


def _await_device(client: Client, environment: Mapping[str, str]) -> None:
    """The farm answers before its agent has shown what it has; who submits at once should not find it empty."""
    settings = load()
    hidden = environment.get("FARM_AGENT_HOST_DEVICE", str(settings.agent_host_device)).lower() in ("0", "false")
    if hidden or environment.get("FARM_RAY_ADDRESS") or settings.ray_address:
        return  # devices come with agents that are started apart
    deadline = time.monotonic() + _DEVICE_SECONDS
    while not any(device.state is not DeviceState.OFFLINE for device in client.devices()):
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"The farm showed no device within {_DEVICE_SECONDS:g} s.",
                remedy="See the logs in its state folder; try `farm doctor`.",
            )
        time.sleep(_LOOK_SECONDS)


@contextlib.contextmanager
def _token(state_dir: Path) -> Iterator[str]:
    from farm.server.tokens import issue_token
    from farm.store.database import Store

    store = Store(Settings(state_dir=state_dir).resolved_database_url)
    name = f"embedded-{secrets.token_hex(4)}"
    try:
        yield issue_token(store, name, Role.ADMIN)
        with store.transaction() as tx:
            tx.revoke_token(name)
    finally:
        store.close()
