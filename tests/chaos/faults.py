"""What is done to the farm. Each fault strikes and mends; after that the farm has to go on by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.fleet import HEAD, Fleet

DOWN_SECONDS = 5.0  # of what is cut, full or stopped


@dataclass(frozen=True)
class Fault:
    """``agent``: the one whose next result shows that work goes on; None: any. ``strike`` returns once it is mended:
    what was struck, or "" where there was nothing to strike."""

    name: str
    strike: Callable[[Fleet, random.Random], str]
    agent: str | None = None


def catalogue(fleet: Fleet, rng: random.Random) -> list[Fault]:
    """One of each kind, on agents chosen at random."""
    some = lambda: rng.choice(fleet.agent_names)  # noqa: E731
    actor, raylet, node, whole = some(), some(), some(), some()
    faults = [
        Fault("api", killer(HEAD, "-m farm.server")),
        Fault("coordinator", killer(HEAD, "-m farm.coordinator")),
        Fault("gcs", killer(HEAD, "gcs_server")),
        Fault("head raylet", killer(HEAD, "raylet/raylet")),
        Fault("whole head", supervisor_killer(HEAD)),
        Fault("agent supervisor", supervisor_killer(whole), whole),
        Fault("agent node", killer(node, "bin/ray start"), node),
        Fault("agent raylet", killer(raylet, "raylet/raylet"), raylet),
        Fault("agent actor", killer(actor, "ray::AgentActor"), actor),
        Fault("harness", kill_harness),
        Fault("build worker", kill_build),
    ]
    if fleet.network is not None:
        cut, long = some(), some()
        faults.append(Fault("short cut", cutter(cut, DOWN_SECONDS), cut))
        faults.append(Fault("long cut", cutter(long, 3 * fleet.lease_ttl_seconds), long))
    if fleet.own_disks:
        full = some()
        faults.append(Fault("agent disk full", filler(full), full))
        faults.append(Fault("head disk full", filler(HEAD)))
    if fleet.postgres is not None:
        faults.append(Fault("database", restart_database))
    return faults


def killer(service: str, part: str) -> Callable[[Fleet, random.Random], str]:
    """kill -9 of one process of a service."""

    def strike(fleet: Fleet, rng: random.Random) -> str:
        return _kill(rng, fleet.of(service, part))

    return strike


def supervisor_killer(service: str) -> Callable[[Fleet, random.Random], str]:
    """kill -9 of ``farm up`` or ``farm agent`` itself; what it started is told by the kernel."""

    def strike(fleet: Fleet, rng: random.Random) -> str:
        process = fleet.services[service].process
        if process is None or process.poll() is not None:
            return ""
        process.kill()
        process.wait()
        return f"{service} ({process.pid})"

    return strike


def kill_harness(fleet: Fleet, rng: random.Random) -> str:
    return _kill(rng, _anywhere(fleet, "agents.harness"))


def kill_build(fleet: Fleet, rng: random.Random) -> str:
    return _kill(rng, [*_anywhere(fleet, "farm.recipes.worker"), *_anywhere(fleet, "ray::_build")])


def cutter(agent: str, seconds: float) -> Callable[[Fleet, random.Random], str]:
    def strike(fleet: Fleet, rng: random.Random) -> str:
        assert fleet.network is not None
        fleet.network.cut(agent)
        _pass(fleet, seconds)
        fleet.network.heal(agent)
        return f"{agent} for {seconds:g} s"

    return strike


def filler(service: str) -> Callable[[Fleet, random.Random], str]:
    def strike(fleet: Fleet, rng: random.Random) -> str:
        with full_disk(fleet.services[service].state_dir):
            _pass(fleet, DOWN_SECONDS)
        return f"{service} for {DOWN_SECONDS:g} s"

    return strike


def restart_database(fleet: Fleet, rng: random.Random) -> str:
    assert fleet.postgres is not None
    fleet.postgres.stop()
    _pass(fleet, DOWN_SECONDS / 2)
    fleet.postgres.start()
    return f"PostgreSQL for {DOWN_SECONDS / 2:g} s"


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """No byte is free on the file system of ``folder``. Only for one of the test's own."""
    path = folder / "filler"
    try:
        with path.open("wb") as file:
            space = os.statvfs(folder)
            os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - 2**20))
            file.seek(0, os.SEEK_END)
            try:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                with contextlib.suppress(OSError):
                    file.close()
        yield
    finally:
        path.unlink(missing_ok=True)


def _pass(fleet: Fleet, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        fleet.keep_running()
        time.sleep(0.05)


def _anywhere(fleet: Fleet, part: str) -> list[psutil.Process]:
    return [process for name in fleet.services for process in fleet.of(name, part)]


def _kill(rng: random.Random, processes: list[psutil.Process]) -> str:
    if not processes:
        return ""
    victim = rng.choice(processes)
    try:
        line = " ".join(victim.cmdline())[:60]
        victim.kill()
    except psutil.NoSuchProcess:
        return ""
    return f"{line} ({victim.pid})"
