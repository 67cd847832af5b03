"""The machine the agent runs on, as a device: its CPU."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from agents import command
from agents.drivers import cores, jobfile, outcome, selftest
from agents.harness import runtimes
from agents.meters.telemetry import PERIOD_SECONDS, HostTelemetry, current
from farm.errors import InfrastructureError, RecipeError
from farm.types import (
    Device,
    DeviceFacts,
    DeviceReadings,
    DeviceState,
    Lease,
    Measurement,
    RecoveryStep,
    Telemetry,
)

_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


class HostDriver:
    """``agent``: the agent's name, which makes the device's id stable. ``folder``: where the agent writes.
    ``toolchains``: where isolated environments lie, for runtimes that live in one.

    A handle is ``[pid, start of the process]``: the start tells the harness from a later process with the same number.
    It is counted from the boot of the machine, because a step of the wall clock moves every time of day.
    """

    name = "host"
    needs_files = True

    def __init__(self, agent: str, folder: Path, toolchains: Path | None = None) -> None:
        self._folder, self._toolchains = folder, toolchains
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        device = Device(
            id=f"{agent}-cpu",
            agent=agent,
            host=socket.gethostname(),
            facts=host_facts(toolchains),
            state=DeviceState.ONLINE,
        )
        self._devices = (device,)

    def discover(self) -> tuple[Device, ...]:
        return self._devices

    def readings(self) -> dict[str, DeviceReadings]:
        found = current(sorted(os.sched_getaffinity(0)))
        return {self._devices[0].id: found} if found else {}

    async def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        return self._start(lease, files, folder)  # of milliseconds, and not to be cancelled halfway

    def _start(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        if lease.runtime not in (here := self._devices[0].facts.runtimes):
            raise RecipeError(
                f"{lease.device_id} has no runtime {lease.runtime}; it has {', '.join(here)}.",
                remedy="Its artifact is built: measure it on a device that has the runtime.",
            )
        cpus = self._cpus(lease)
        job = jobfile.document(lease, lambda sha256: str(files[sha256]), cpus, str(folder))
        (folder / "job.json").write_text(json.dumps(job))
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        environment |= {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
        try:
            with (folder / "log.txt").open("wb") as log:
                # Its own session: it outlives this process, and is killed with all its children.
                process = subprocess.Popen(
                    [self._python(lease.runtime), "-m", "agents.harness", str(folder / "job.json")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise InfrastructureError(
                f"The harness could not be started: {error}.", remedy="Check memory and process limits of the agent."
            ) from error
        self._children[process.pid] = process
        return json.dumps([process.pid, _started_ticks(process.pid)])

    def _cpus(self, lease: Lease) -> list[int]:
        device = self._devices[0]
        return cores.pinned(lease.scenario, sorted(os.sched_getaffinity(0)), device.facts.clusters, device.id)

    def _python(self, runtime: str) -> str:
        """The interpreter that has the runtime: this one, or that of its toolchain."""
        name = getattr(runtimes.find(runtime), "toolchain", "")
        if not name or self._toolchains is None:
            return sys.executable
        (self._toolchains / name / "used").touch()  # as long as it is used, it is not removed to make room
        return str(self._toolchains / name / "bin" / "python")

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        pid, started_ticks = _process(handle)
        cpus = self._cpus(lease)
        telemetry = HostTelemetry(pid, cpus, os.cpu_count() or 1)
        try:
            async with asyncio.timeout(lease.timeout_seconds):
                await self._sample_until_exit(pid, started_ticks, telemetry)
        except TimeoutError:
            self.kill(handle)
            raise outcome.too_long(lease, folder) from None
        exit_code = self._reap(pid)
        readings = telemetry.summary()
        if adopted:
            reason = "the agent was restarted during the measurement"
            readings = Telemetry(
                absent=dict.fromkeys(("background_cpu_ratio", "steal_ratio"), reason) | readings.absent
            )
        return outcome.measurement(lease, folder, exit_code, readings)

    async def _sample_until_exit(self, pid: int, started_ticks: int, telemetry: HostTelemetry) -> None:
        if _started_ticks(pid) != started_ticks:
            return
        exit_of_it = asyncio.ensure_future(command.ended(pid))
        try:
            while not exit_of_it.done():
                await asyncio.wait([exit_of_it], timeout=PERIOD_SECONDS)
                telemetry.sample()
            exit_of_it.result()
        finally:
            exit_of_it.cancel()

    def _reap(self, pid: int) -> int | None:
        """The exit code of an ended harness where it is our own child, else None."""
        process = self._children.pop(pid, None)
        return process.wait(timeout=5) if process else None

    def kill(self, handle: str) -> None:
        pid, started_ticks = _process(handle)
        if _started_ticks(pid) != started_ticks:
            return
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        self._reap(pid)

    async def check(self, device_id: str) -> str:
        return await selftest.run(self._folder)

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        """The agent's power-cycle hook has done all there is to do."""

    async def close(self) -> None:
        """Nothing is held."""


def _process(handle: str) -> tuple[int, int]:
    pid, started_ticks = json.loads(handle)
    return pid, started_ticks


def _started_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since the boot of the machine (proc(5)); None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat.rpartition(")")[2].split()[19])


def host_facts(toolchains: Path | None = None) -> DeviceFacts:
    model = _cpu_model()
    return DeviceFacts(
        platform="linux",
        device_model=model,
        soc=model,
        abi=platform.machine(),
        os_version=f"{platform.system()} {platform.release()}",
        memory_bytes=psutil.virtual_memory().total,
        cpu_count=len(os.sched_getaffinity(0)),
        runtimes=tuple(name for name in runtimes.names() if _has(name, toolchains)),
        hypervisor=_hypervisor(),
    )


def _has(runtime: str, toolchains: Path | None) -> bool:
    kind = runtimes.find(runtime)
    if name := getattr(kind, "toolchain", ""):
        return toolchains is not None and (toolchains / name / "complete").is_file()
    return all(map(_installed, kind.distributions))


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    found = re.search(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _hypervisor(cpuinfo: Path = Path("/proc/cpuinfo"), dmi: Path = Path("/sys/class/dmi/id/sys_vendor")) -> str | None:
    """The vendor of the virtual machine this host is, or None on bare metal (CPUID's hypervisor bit)."""
    if not re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo.read_text(), re.MULTILINE):
        return None
    try:
        return dmi.read_text().strip() or "unknown"
    except OSError:
        return "unknown"
