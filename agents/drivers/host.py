"""The machine the agent runs on, as a device: its CPU."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
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
from datetime import UTC, datetime
from pathlib import Path

import psutil

from agents import command
from agents.drivers import selftest
from agents.harness import records, runtimes
from agents.meters.telemetry import PERIOD_SECONDS, HostTelemetry, current
from farm.errors import DeviceError, FarmError, InfrastructureError, ModelError, RecipeError
from farm.types import (
    Blob,
    Device,
    DeviceFacts,
    DeviceReadings,
    DeviceState,
    Lease,
    Measurement,
    RecoveryStep,
    Telemetry,
)

EVALUATION = "evaluation.npz"
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

    def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        if lease.runtime not in (here := self._devices[0].facts.runtimes):
            raise RecipeError(
                f"{lease.device_id} has no runtime {lease.runtime}; it has {', '.join(here)}.",
                remedy="Its artifact is built: measure it on a device that has the runtime.",
            )
        job = {
            "runtime": lease.runtime,
            "options": lease.options,
            "files": {file.name: str(files[file.sha256]) for file in lease.files},
            "custom_operators": _operators(lease, files),
            "example_inputs": str(files[lease.example_inputs.sha256]),
            "parity_inputs": str(files[lease.parity_inputs.sha256]),
            "reference_outputs": str(files[lease.reference_outputs.sha256]),
            "threads": lease.scenario.threads,
            "batch": lease.batch,
            "cpus": pinned_cpus(sorted(os.sched_getaffinity(0)), lease.scenario.threads),
            "protocol": lease.protocol.model_dump(),
            "records": str(folder / "records.jsonl"),
            "evaluation": {
                "inputs": str(files[lease.evaluation_inputs.sha256]),
                "outputs": str(folder / EVALUATION),
                "max_bytes": lease.evaluation_max_bytes,
                "max_seconds": lease.protocol.evaluation_max_seconds,
            }
            if lease.evaluation_inputs
            else None,
            "processing": {
                "inputs": str(files[lease.raw_example.sha256]) if lease.raw_example else None,
                "before": [step.model_dump() for step in lease.preprocessing],
                "after": [step.model_dump() for step in lease.postprocessing],
            }
            if lease.preprocessing or lease.postprocessing
            else None,
        }
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

    def _python(self, runtime: str) -> str:
        """The interpreter that has the runtime: this one, or that of its toolchain."""
        name = getattr(runtimes.find(runtime), "toolchain", "")
        if not name or self._toolchains is None:
            return sys.executable
        (self._toolchains / name / "used").touch()  # as long as it is used, it is not removed to make room
        return str(self._toolchains / name / "bin" / "python")

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        pid, started_ticks = _process(handle)
        cpus = pinned_cpus(sorted(os.sched_getaffinity(0)), lease.scenario.threads)
        telemetry = HostTelemetry(pid, cpus, os.cpu_count() or 1)
        try:
            async with asyncio.timeout(lease.timeout_seconds):
                await self._sample_until_exit(pid, started_ticks, telemetry)
        except TimeoutError:
            self.kill(handle)
            raise _too_long(lease, folder) from None
        exit_code = self._reap(pid)
        readings = telemetry.summary()
        if adopted:
            reason = "the agent was restarted during the measurement"
            readings = Telemetry(
                absent=dict.fromkeys(("background_cpu_ratio", "steal_ratio"), reason) | readings.absent
            )
        return _read_measurement(lease, folder, exit_code, readings)

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


def _operators(lease: Lease, files: Mapping[str, Path]) -> dict[str, str] | None:
    if lease.custom_operators is None:
        return None
    return {"kind": lease.custom_operators.kind, "file": str(files[lease.custom_operators.file.sha256])}


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


def pinned_cpus(available: list[int], threads: int) -> list[int]:
    """The CPUs a measurement is pinned to: the highest ones, because interrupts tend to land on CPU 0."""
    return available[-threads:]


def _read_measurement(lease: Lease, folder: Path, exit_code: int | None, readings: Telemetry) -> Measurement:
    try:
        facts = records.summarize(records.read(folder / "records.jsonl"))
    except records.HarnessError as error:
        kinds: dict[str, type[FarmError]] = {"user": ModelError, "recipe": RecipeError, "device": DeviceError}
        raise kinds.get(error.fault, DeviceError)(error.message, remedy=error.remedy) from error
    except records.RecordsCut as error:
        raise _crash(exit_code, folder) from error
    return Measurement(
        attempt_id=lease.attempt_id,
        job_id=lease.job_id,
        epoch=lease.epoch,
        telemetry=readings,
        evaluation_outputs=_blob(folder / EVALUATION) if facts["evaluation_seconds"] is not None else None,
        started_at=datetime.fromtimestamp((folder / "job.json").stat().st_mtime, UTC),
        **facts,
    )


def _blob(path: Path) -> Blob:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(name=path.name, sha256=digest, size_bytes=path.stat().st_size)


def _crash(exit_code: int | None, folder: Path) -> FarmError:
    if exit_code == -signal.SIGKILL or exit_code is None:
        return InfrastructureError(
            f"The harness was killed from outside (not by the farm).{_reached(folder)}",
            remedy="The job is tried again. If it happens often, look for the out-of-memory killer (`dmesg`).",
        )
    how = signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"
    return DeviceError(
        f"The runtime crashed the harness ({how}).{_reached(folder)}",
        remedy="The log's end is kept with this failure; the artifact or the runtime is at fault.",
    )


def _too_long(lease: Lease, folder: Path) -> FarmError:
    """A program that loads, and whose one inference outlasts what a whole measurement may take, is slow: that says
    nothing of the device. All else that does not end is as likely the device's doing."""
    limit_seconds = lease.timeout_seconds
    phases = {record["name"]: record["seconds"] for record in _records(folder) if record["kind"] == "phase"}
    if "load" in phases and (seconds := phases.get("first_inference", limit_seconds)) > lease.protocol.max_seconds:
        took = f"took {seconds:.2g} s" if "first_inference" in phases else "had not ended"
        return RecipeError(
            f"The harness was killed after {limit_seconds:g} s; the first inference {took}.",
            remedy="Choose a faster recipe or a smaller model here, or raise the protocol's timeout_seconds.",
        )
    return DeviceError(
        f"The harness was killed after {limit_seconds:g} s.{_reached(folder)}",
        remedy="Raise the protocol's timeout_seconds if the model is that slow, or look at the log.",
    )


def _reached(folder: Path) -> str:
    """How far it came, for messages."""
    kinds = [str(record.get("name", record["kind"])) for record in _records(folder)]
    return f" Last record: {kinds[-1]}." if kinds else " It had written no record."


def _records(folder: Path) -> list[records.Record]:
    try:
        return records.read(folder / "records.jsonl")
    except (OSError, records.RecordsCut):
        return []


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
