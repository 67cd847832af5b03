"""A virtual Android phone with an adb server of its own, for the length of a ``with`` block: no hardware needed, and
nothing of yours touched. docs/virtual-phone.md says what it is, and what it is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.android.adb import adb_program
from agents.phone_runtime.debian import Archive
from farm import Client
from farm.errors import InfrastructureError
from farm.types import DeviceHealth

RUNTIMES = ("onnxruntime", "litert")
_BUILD_SECONDS = 1800.0
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_READY_SECONDS = 60.0
_FARM = [sys.executable, "-m", "farm.cli.app"]


def runtime(abi: str = "x86_64", runtimes: Sequence[str] = RUNTIMES) -> bool:
    """Make the phone runtime that the agent gives to phones, unless it is there; whether it is there then. What was in
    the way is on stderr."""
    command = [*_FARM, "phone-runtime", "build", "--abi", abi, "--with", ",".join(runtimes)]
    return subprocess.run(command, timeout=_BUILD_SECONDS, check=False).returncode == 0


@contextlib.contextmanager
def plugged_in(folder: Path, profile: str = "galaxy-s23", abi: str = "x86_64") -> Iterator[dict[str, str]]:
    """Settings of a farm that has the phone. Raises InfrastructureError where it does not start."""
    folder.mkdir(parents=True, exist_ok=True)
    with _virtual_phone(folder, profile, abi) as address, _adb_server(folder) as port:
        subprocess.run([_adb(), "-P", str(port), "connect", address], capture_output=True, timeout=30, check=True)
        yield {"FARM_AGENT_ANDROID": "true", "FARM_AGENT_ADB_SERVERS": json.dumps([f"127.0.0.1:{port}"])}


def await_ready(client: Client) -> None:
    """Until the farm has looked at it. Raises InfrastructureError with what is against it."""
    deadline = time.monotonic() + _READY_SECONDS
    while not (phones := client.devices("platform=android")) or phones[0].health is not DeviceHealth.GOOD:
        if time.monotonic() > deadline:
            why = phones[0].blocked or phones[0].health_reason if phones else "it is not there"
            raise InfrastructureError(f"The farm cannot use the phone: {why}.", remedy="See the logs in .demo.")
        time.sleep(0.2)


@contextlib.contextmanager
def _virtual_phone(folder: Path, profile: str, abi: str) -> Iterator[str]:
    command = [*_FARM, "virtual", "android", "--port", "0", "--profile", profile, "--abi", abi]
    if shutil.which("busybox") is None:
        command += ["--busybox", str(_busybox(folder / "busybox"))]
    process = subprocess.Popen(
        [*command, "--folder", str(folder / "phone"), "--json"], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise InfrastructureError("The virtual phone did not start.", remedy="Its reason is on stderr.")
        yield json.loads(line)["address"]
    finally:
        _end(process)


def _busybox(folder: Path) -> Path:
    """Debian's static one, for machines that have none: fetched, not installed. Raises InfrastructureError."""
    program = folder / "bin" / "busybox"
    if not program.is_file():
        archive = Archive(folder, "x86_64")
        archive.update()
        archive.download(archive.newest(["busybox-static"]), folder)
        (package,) = folder.glob("busybox-static_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], timeout=60, check=True)
    return program


@contextlib.contextmanager
def _adb_server(folder: Path) -> Iterator[int]:
    """On a free port, with keys of its own."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
    keys = {"HOME": str(folder.resolve()), "ANDROID_USER_HOME": str(folder.resolve()), "ADB_MDNS": "0"}
    command = [_adb(), "-P", str(port), "nodaemon", "server"]
    process = subprocess.Popen(
        command, env=os.environ | keys, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise InfrastructureError(f"No adb server came up on port {port}.", remedy="Try `adb start-server`.")
            time.sleep(0.05)
        yield port
    finally:
        _end(process)


def _adb() -> str:
    program = adb_program()
    if program is None:
        raise InfrastructureError("There is no adb program.", remedy="pip install 'torchfarm[android]' brings one.")
    return program


def _end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)
