"""The farm under test: a head and agents with virtual devices, each a service of its own that is started again when
it ends, as systemd would. All of it lives in one folder, by which its processes and files are told from others'.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

import farm
from farm.server.tokens import issue_token
from farm.store import tables
from farm.store.database import Store
from farm.types import Role
from tests.chaos.network import Network
from tests.chaos.postgres import Postgres

FARM = [sys.executable, "-m", "farm.cli.app"]
HEAD = "head"
RESTART_SECONDS = 0.5
TMPFS_BYTES = 2**30  # a device is fit with half of it free
# Jobs of 0.8 simulated seconds. A crash fails its job, a device that went away is the infrastructure's failure.
PROFILE = """
seed: {seed}
time_scale: {time_scale}
kinds:
  - {{name: phone, platform: linux, soc: V, abi: none, os_version: "1", memory_gib: 1, cpu_count: 1, clock_ghz: 1,
     speed_spread: 0.1, latency: {{median_seconds: 0.01, artifact_spread: 0.1}},
     failures: {{crash_ratio: 0.01, offline_ratio: 0.01, offline_seconds: 1}},
     thermal: {{rise_celsius: 0, time_constant_seconds: 1, throttle_celsius: 99, limit_celsius: 100}}}}
"""
SIMULATED_SECONDS = 0.8
PROTOCOL = farm.Protocol(min_warmup_seconds=0, min_samples=50, max_samples=50, min_seconds=0, timeout_seconds=60)


def until(condition: Callable[[], bool], what: str, seconds: float, meanwhile: Callable[[], None]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        meanwhile()
        time.sleep(0.05)


@dataclass
class Service:
    """One ``farm`` command on a machine of its own."""

    name: str
    command: list[str]
    environment: dict[str, str]
    state_dir: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    due: float = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=os.environ | self.environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def keep_running(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.process, self.due = None, time.monotonic() + RESTART_SECONDS
        if self.process is None and time.monotonic() > self.due:
            self.start()

    def signal_stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def await_stop(self) -> None:
        if self.process is not None:
            self.process.wait(timeout=60)


@dataclass
class Fleet:
    """``with Fleet(...)``: starts head and agents, and at the end stops them; then ``leftovers`` should be empty.

    ``job_seconds``: what a virtual job takes. ``own_disks``: every state folder on a small tmpfs (root only).
    """

    agents: int
    devices_per_agent: int
    job_seconds: float
    seed: int = 0
    network: Network | None = None
    on_postgres: bool = False
    own_disks: bool = False
    lease_ttl_seconds: float = 10.0
    services: dict[str, Service] = field(default_factory=dict)
    postgres: Postgres | None = None

    def __enter__(self) -> Fleet:
        # Short: Ray puts Unix sockets below, whose paths end at 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="c-", dir="/tmp"))
        self._stack = contextlib.ExitStack()
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill_all()
        self._stack.close()

    def _start(self) -> None:
        scale = self.job_seconds / SIMULATED_SECONDS
        (self.folder / "profile.yaml").write_text(PROFILE.format(seed=self.seed, time_scale=scale))
        head_address, head_prefix = self._machine(HEAD, "127.0.0.1")
        ray_host = head_address if self.network else "127.0.0.2"
        if self.on_postgres:
            self.postgres = self._stack.enter_context(Postgres(self.folder, head_address, head_prefix))
        self.database_url = self.postgres.url if self.postgres else f"sqlite:///{self.folder / HEAD / 'farm.db'}"
        port = _free_port()
        self.url = f"http://{head_address}:{port}"
        up = [*FARM, "up", "--host", head_address, "--port", str(port)]
        self._add(HEAD, [*head_prefix, *up], ray_host, FARM_DATABASE_URL=self.database_url)
        until(self._answers, "the head answers", 120, self.keep_running)
        store = Store(self.database_url)
        token = issue_token(store, "chaos", Role.ADMIN)
        agent_token = issue_token(store, "edges", Role.AGENT)
        store.close()
        self.client = self._stack.enter_context(contextlib.closing(farm.Client(self.url, token=token)))
        for number in range(1, self.agents + 1):
            name = f"edge-{number}"
            address, prefix = self._machine(name, f"127.0.0.{number + 2}")
            count, profile = str(self.devices_per_agent), str(self.folder / "profile.yaml")
            self._add(
                name,
                # The first one has a host device too, so that there are harness processes on an agent.
                [*prefix, *FARM, *(("agent",) if number == 1 else ("virtual", "fleet", "--devices", count)),
                 "--name", name, "--join", self.url, *(() if number == 1 else ("--profile", profile))],
                address, FARM_TOKEN=agent_token, FARM_AGENT_VIRTUAL_DEVICES=count, FARM_AGENT_VIRTUAL_PROFILE=profile,
            )  # fmt: skip
        self.engine = sa.create_engine(self.database_url, pool_pre_ping=True)
        self._stack.callback(self.engine.dispose)
        expected = self.agents * self.devices_per_agent + 2
        until(
            lambda: self.scalar("SELECT count(*) FROM devices WHERE state = 'online'") == expected,
            f"all {expected} devices are online", 180, self.keep_running,
        )  # fmt: skip

    def _machine(self, name: str, address: str) -> tuple[str, tuple[str, ...]]:
        """Its address, and what to put before a command to run it there."""
        state = self.folder / name
        state.mkdir()
        if self.own_disks:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES},mode=700", "chaos", state], check=True)
            self._stack.callback(subprocess.run, ["umount", "-l", state], check=True)
        if self.network is None:
            return address, ()
        machine = self.network.add(name)
        return machine.address, machine.prefix

    def _add(self, name: str, command: list[str], ray_host: str, **environment: str) -> None:
        state = self.folder / name
        environment |= {
            "TMPDIR": str(self.folder),
            "FARM_RAY_HOST": ray_host,
            "FARM_LEASE_TTL_SECONDS": f"{self.lease_ttl_seconds:g}",
            "FARM_BUILD_SLOTS": "1",
            "FARM_HEALTH_RECHECK_SECONDS": "10",
        }
        whole = [*command, "--state-dir", str(state)]
        service = self.services[name] = Service(name, whole, environment, state, self.folder / f"{name}.log")
        service.start()

    def _answers(self) -> bool:
        with contextlib.suppress(farm.FarmError), farm.Client(self.url, timeout_seconds=2) as client:
            return bool(client.health())
        return False

    @property
    def agent_names(self) -> list[str]:
        return [name for name in self.services if name != HEAD]

    def keep_running(self) -> None:
        for service in self.services.values():
            service.keep_running()

    def stop(self) -> None:
        """In order: the agents, then the head."""
        for names in (self.agent_names, [HEAD]):
            for name in names:
                self.services[name].signal_stop()
            for name in names:
                self.services[name].await_stop()

    # --- what it is made of -----------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All of this farm, also those whose parents have died. PostgreSQL is not the farm's."""
        return [process for process in psutil.process_iter() if self._mine(process)]

    def _mine(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                return False
            seen = [process.cwd(), *process.cmdline(), *process.environ().values()]
        except psutil.Error:
            return False
        return any(str(self.folder) in text for text in seen) and "postgres" not in seen[1]

    def of(self, name: str, part: str) -> list[psutil.Process]:
        """Processes of one service whose command line holds ``part``, in order of their age."""
        service = self.services[name].process
        if service is None:
            return []
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(service.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if part in " ".join(process.cmdline()):
                        found.append(process)
        return found

    def kill_all(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def scalar(self, query: str, **values: Any) -> Any:
        """One value straight from the database; None while that is away."""
        with contextlib.suppress(sa.exc.DBAPIError), self.engine.connect() as connection:
            return connection.execute(sa.text(query), values).scalar()
        return None

    def finished_since(self, at: datetime, agent: str | None = None) -> bool:
        """Whether a measurement that ended after ``at`` is committed."""
        table = tables.attempts.c
        query = sa.select(sa.func.count()).where(table.state == "finished", table.ended_at > at)
        if agent is not None:
            query = query.where(table.agent == agent)
        with contextlib.suppress(sa.exc.DBAPIError), self.engine.connect() as connection:
            return bool(connection.execute(query).scalar_one())
        return False

    def logs(self, lines: int = 15) -> Iterator[str]:
        """The ends of all logs, for people."""
        for path in sorted([*self.folder.glob("*.log"), *self.folder.glob("*/logs/*.log")]):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            yield "\n".join([f"--- {path.relative_to(self.folder)}", *text])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
