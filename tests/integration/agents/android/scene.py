"""A virtual phone, an adb server of its own on a free port, and an agent that has both."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents.agent import Agent
from agents.android import adb
from agents.android.link import AdbPhone
from agents.drivers.android import AndroidDriver
from agents.phone_runtime import archive
from agents.phone_runtime.archive import File
from agents.phone_runtime.bundle import BASE, Bundle, Layer
from agents.virtual.phone import VirtualPhone
from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.types import AgentEvent, Blob, Device, Lease, Protocol, Scenario

PROTOCOL = Protocol(
    min_warmup_seconds=0.01, min_samples=20, min_seconds=0, max_seconds=1, timeout_seconds=60, idle_seconds=0
)


def adb_program() -> str | None:
    return shutil.which("adb") or adb.adb_program()


@asynccontextmanager
async def adb_server(folder: Path) -> AsyncIterator[adb.Server]:
    """Not the one of whoever runs the tests: with keys of its own, and ended with the block."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    program = adb_program()
    assert program
    home = folder / "home"
    home.mkdir()
    process = subprocess.Popen(  # noqa: ASYNC220
        [program, "-P", str(port), "nodaemon", "server"],
        env={"HOME": str(home), "ANDROID_USER_HOME": str(home), "PATH": os.defpath, "ADB_MDNS": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    server = adb.Server("127.0.0.1", port)
    try:
        await until(lambda: _listens(port), 10)
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as there:
        return there.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], object], timeout_seconds: float = 15) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        await asyncio.sleep(0.02)


async def connect(server: adb.Server, phone: VirtualPhone) -> None:
    await server.connect(f"127.0.0.1:{phone.port}")


@asynccontextmanager
async def linked(folder: Path, profile: str = "galaxy-s23") -> AsyncIterator[tuple[VirtualPhone, AdbPhone]]:
    """A phone that answers, without an agent."""
    phone = VirtualPhone(profile, "x86_64", folder / "phone")
    await phone.start()
    try:
        async with adb_server(folder) as server:
            await connect(server, phone)
            link = AdbPhone(server, f"127.0.0.1:{phone.port}")
            for _ in range(100):
                if "\tdevice" in await server.ask("host:devices"):
                    break
                await asyncio.sleep(0.05)
            yield phone, link
    finally:
        await phone.stop()


# In place of the loader: a harness that needs no Python. It measures for as long as the option "seconds" of the lease
# says, and writes the records that the harness writes.
_LOADER = r"""#!/system/bin/sh
for job; do :; done
folder=${job%/*}
seq=0
clock() { read -r up rest < /proc/uptime; }
say() {
  echo "{\"seq\": $seq, \"monotonic_seconds\": $up, $1}" >> "$folder/records.jsonl"
  seq=$((seq + 1))
  clock
}
clock
of='"runtime": "onnxruntime", "threads": 1, "cpus": [0], "batch": 1, "pid": 1'
say '"kind": "start", '"$of"', "uptime_seconds": '"$up"
say '"kind": "phase", "name": "import", "seconds": 0.1'
say '"kind": "runtime_versions", "versions": {"shell": "1"}, "emulated": ""'
say '"kind": "phase", "name": "load", "seconds": 0.1'
say '"kind": "load_cost", "read_seconds": 0.1, "absent": {}'
say '"kind": "phase", "name": "first_inference", "seconds": 0.1'
say '"kind": "cpus_allowed", "cpus": [0]'
say '"kind": "warmup", "samples_seconds": [0.1]'
seconds=$(grep -o '"seconds": [0-9]*' "$job"); seconds=${seconds##* }
sleep "$seconds" &
wait $!
case $(cat "$job") in *'"crash": true'*) kill -11 $$;; esac
say '"kind": "samples", "samples_seconds": [0.1, 0.1]'
say '"kind": "stop", "by": "samples", "warmup_steady": true'
say '"kind": "memory", "absent": "a shell"'
say '"kind": "memory_series", "absent": "a shell"'
say '"kind": "parity", "absent": "a shell"'
say '"kind": "outputs", "non_finite": 0'
say '"kind": "end", "uptime_seconds": '"$up"
"""


def stand_in_bundle(folder: Path) -> Bundle:
    """The layers of a phone runtime with a shell script in place of Python: what is tested is the way there."""
    packed = archive.pack(
        {"lib/ld-linux-x86-64.so.2": File.of_bytes(_LOADER.encode(), executable=True)}, folder / "layers"
    )
    engine = archive.pack({"site/engine.py": File.of_bytes(b"# none\n")}, folder / "layers")
    layers = [
        Layer(name=name, sha256=one.sha256, size_bytes=one.size_bytes, unpacked_bytes=one.unpacked_bytes,
              distributions={}, runtimes=runtimes, requires=requires)
        for name, one, runtimes, requires in (
            (BASE, packed, (), ()), ("onnxruntime", engine, ("onnxruntime",), (BASE,))
        )
    ]  # fmt: skip
    bundle = Bundle.of(folder, "x86_64", "3.11.0", layers)
    (folder / "bundles").mkdir()
    (folder / "bundles" / f"{bundle.digest}.json").write_text(bundle.model_dump_json())
    return bundle


class Scene:
    def __init__(
        self, folder: Path, phone: VirtualPhone, server: adb.Server, runtime_folder: Path, **settings: Any
    ) -> None:
        self.folder, self.phone, self.server = folder, phone, server
        self.settings = Settings(
            state_dir=folder / "state",
            store_url=(folder / "store").as_uri(),
            agent_name="bench",
            agent_host_device=False,
            agent_android=True,
            agent_adb_servers=(str(server),),
            phone_runtime_dir=runtime_folder,
            **settings,
        )
        self.store = ArtifactStore(self.settings.resolved_store_url)
        self.agent = Agent(self.settings)
        self.seq = 0

    @property
    def driver(self) -> AndroidDriver:
        driver = self.agent._drivers["android"]
        assert isinstance(driver, AndroidDriver)
        return driver

    @property
    def device_id(self) -> str:
        return self.phone.serial

    @property
    def devices(self) -> tuple[Device, ...]:
        return self.agent.info().devices or ()

    async def device(self) -> Device:
        """Once it is there and nothing is against it."""
        await until(lambda: self.devices and not self.devices[0].blocked)
        return self.devices[0]

    async def restart_agent(self) -> None:
        await self.agent.close()
        self.agent = Agent(self.settings)

    def blob(self, name: str, content: bytes) -> Blob:
        path = self.folder / name
        path.write_bytes(content)
        return self.store.put_file(path)

    def lease(self, attempt_id: int = 1, seconds: int = 1, **changes: object) -> Lease:
        model = self.blob("model.onnx", b"a model")
        inputs = self.blob("inputs.npz", b"inputs")
        fields: dict[str, object] = {
            "attempt_id": attempt_id,
            "job_id": attempt_id,
            "epoch": 1,
            "device_id": self.device_id,
            "runtime": "onnxruntime",
            "options": {"seconds": seconds},
            "files": (model,),
            "example_inputs": inputs,
            "parity_inputs": inputs,
            "reference_outputs": inputs,
            "scenario": Scenario(threads=1),
            "protocol": PROTOCOL,
            "ttl_seconds": 60.0,
        }
        return Lease.model_validate(fields | changes)

    async def event(self, timeout_seconds: float = 30) -> AgentEvent:
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if events := await self.agent.events(self.seq, 1):
                self.seq = events[0].seq
                return events[0]
        raise AssertionError("the agent reported nothing in time")

    async def end(self, timeout_seconds: float = 30) -> AgentEvent:
        event = await self.event(timeout_seconds)
        return await self.event(timeout_seconds) if event.kind == "started" else event

    async def left_behind(self) -> tuple[list[str], list[str]]:
        """Attempts' folders and processes of ours on the phone."""
        link = AdbPhone(self.server, f"127.0.0.1:{self.phone.port}")
        output = await link.shell(
            "ls /data/local/tmp/torchfarm/attempts; echo ---;"
            " grep -la TORCHFARM_ATTEMPT /proc/[0-9]*/environ 2>/dev/null"
        )
        folders, _, processes = output.stdout.partition("---")
        return folders.split(), processes.split()

    async def on_phone(self, *words: str) -> str:
        link = AdbPhone(self.server, f"127.0.0.1:{self.phone.port}")
        return (await link.shell(shlex.join(words))).stdout.strip()


@asynccontextmanager
async def scene(
    folder: Path, runtime_folder: Path | None = None, profile: str = "galaxy-s23", **settings: Any
) -> AsyncIterator[Scene]:
    """Plugged in, with the stand-in for a phone runtime unless another one is given. ``settings``: more of them."""
    if runtime_folder is None:
        runtime_folder = folder / "runtime"
        runtime_folder.mkdir()
        stand_in_bundle(runtime_folder)
    phone = VirtualPhone(profile, "x86_64", folder / "phone")
    await phone.start()
    try:
        async with adb_server(folder) as server:
            made = Scene(folder, phone, server, runtime_folder, **settings)
            made.agent.info()
            try:
                await connect(server, phone)
                yield made
            finally:
                await made.agent.close()
    finally:
        await phone.stop()


def faulty(phone: VirtualPhone, name: str, value: object = True) -> None:
    phone.faults.switch(name, value)
