"""A head in a process of its own that can be killed, and a wire to it that can be cut."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from farm.config import Settings
from farm.coordinator.enquiry import Enquiry
from farm.server.tokens import issue_token
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import JobChange
from farm.types import (
    Blob,
    Event,
    Job,
    JobState,
    JobWait,
    ModelFormat,
    ModelSpec,
    Role,
    Run,
    RunSpec,
    RunState,
    TensorSpec,
)
from tests.unit.analysis.outcomes import AT, device, finished, recipe, sha

START_SECONDS = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Head:
    """``python -m farm.server`` on a state folder of its own, and the store under it: the coordinator's part is
    played by whoever writes there."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.settings = Settings(state_dir=folder / "state", port=free_port(), **settings)
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.store = Store(self.settings.resolved_database_url)
        self.store.migrate()
        self._log = folder / "head.log"

    def start(self) -> None:
        with self._log.open("ab") as log:
            environment = {key: value for key, value in os.environ.items() if not key.startswith("FARM_")}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "farm.server"],
                env=environment | self.settings.as_environment(),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                httpx.get(f"{self.url}/api/v1/health", timeout=5, trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """As ``kill -9`` does."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        self.kill()
        self.store.close()

    def token(self, role: Role = Role.USER) -> str:
        return issue_token(self.store, f"{role}-{uuid.uuid4().hex[:8]}", role)

    # --- what the coordinator would do ---------------------------------------------------------------

    def submit(self, *recipes: str, name: str = "nightly") -> Run:
        """A run with a job per recipe on one device."""
        from farm.store.transaction import NewJob

        blob = Blob(name="model.pt2", sha256=sha("program"), size_bytes=3)
        spec = ModelSpec(
            name="net",
            format=ModelFormat.PT2,
            program=blob,
            inputs=(TensorSpec(name="x", shape=(1, 3), dtype="float32"),),
            example_inputs=blob,
            parity_inputs=blob,
        )
        variants = tuple(recipe(name) for name in recipes)
        with self.store.transaction() as transaction:
            transaction.upsert_device(device(), AT)
            model = transaction.add_model(spec, "ann", AT)
            run = RunSpec(model="net", recipes=variants, devices="platform=linux", name=name)
            jobs = [NewJob(one, sha(one.name), None, "local-cpu", run.scenarios[0]) for one in variants]
            return transaction.add_run(run, model, jobs, {sha(one.name): one for one in variants}, "ann", AT)

    def jobs(self, run: Run) -> list[Job]:
        with self.store.reading() as reading:
            return reading.jobs(run.id)

    def event(self, run: Run, kind: str, subject: str, state: str, text: str = "") -> Event:
        with self.store.transaction() as transaction:
            return transaction.append_event(run.id, kind, subject, state, text, AT)

    def measure(self, job: Job, samples: list[float], **measured: Any) -> None:
        """``measured``: further fields of the measurement."""
        from farm.store import samples as parquet

        stored = ArtifactStore(self.settings.resolved_store_url).put([parquet.write([0.1], samples)], "samples.parquet")
        result = finished(job.recipe.name, samples, id=job.id, run_id=job.run_id, **measured).result
        with self.store.transaction() as transaction:
            transaction.add_result(result, stored)
            transaction.set_jobs([JobChange(job.id, JobState.FINISHED)])

    def end(self, run: Run, state: RunState = RunState.FINISHED) -> None:
        with self.store.transaction() as transaction:
            transaction.set_run(run.id, state, AT)
            transaction.append_event(run.id, "run", str(run.id), state, "", AT)


class Wire:
    """Forwards TCP to a port, and breaks the first connections after ``cuts`` bytes sent by the client, one each."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port, self.cuts, self.broken = port, list(cuts), 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(near,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        try:
            far = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        except ConnectionRefusedError:
            near.close()
            return
        with near, far:
            sent = 0
            while True:
                for source in select.select([near, far], [], [], 30)[0]:
                    chunk = source.recv(65536)
                    if not chunk:
                        return
                    (far if source is near else near).sendall(chunk)
                    sent += len(chunk) if source is near else 0
                if self.cuts and sent > self.cuts[0]:
                    self.cuts.pop(0)
                    self.broken += 1
                    return


@contextmanager
def coordinator(state_dir: Path, waits: Mapping[int, JobWait]) -> Iterator[None]:
    """One that only says why jobs wait."""
    started, over = threading.Event(), threading.Event()

    async def run() -> None:
        async with Enquiry(state_dir).serve(lambda ids: [waits[id] for id in ids if id in waits]):
            started.set()
            await asyncio.to_thread(over.wait, 60)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    assert started.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join(20)
