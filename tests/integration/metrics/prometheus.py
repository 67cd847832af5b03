"""A real Prometheus on loopback, configured as ``farm up --with-prometheus`` does, that can be killed and come back."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from farm.supervisor import prometheus as own
from tests.integration.server.test_process import free_port

INSTALLED = shutil.which(own.PROGRAM)


class Prometheus:
    """``head_url``: whom it asks what to scrape."""

    def __init__(self, folder: Path, head_url: str = "http://127.0.0.1:1", token: str = "") -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._config = own.prepare(folder / "prometheus", head_url, token)
        self.data = self._config.parent / "data"
        self._log = folder / "prometheus.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self._config

    @property
    def write_url(self) -> str:
        return f"{self.url}/api/v1/write"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                own.command(own.find(), self._config, self._port), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power."""
        if self._process and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def query(self, promql: str, at_seconds: float | None = None) -> list[dict[str, Any]]:
        given = {"query": promql} | ({"time": f"{at_seconds:.3f}"} if at_seconds is not None else {})
        answer = httpx.post(f"{self.url}/api/v1/query", data=given, timeout=60, trust_env=False)
        assert answer.is_success, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def count(self, promql: str, at_seconds: float | None = None) -> float:
        found = self.query(promql, at_seconds)
        return float(found[0]["value"][1]) if found else 0.0

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False
