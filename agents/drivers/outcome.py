"""What an attempt's folder says of how it ended, whichever device the harness ran on."""

from __future__ import annotations

import hashlib
import signal
from datetime import UTC, datetime
from pathlib import Path

from agents.drivers.jobfile import EVALUATION
from agents.harness import records
from farm.errors import DeviceError, FarmError, InfrastructureError, ModelError, RecipeError
from farm.types import Blob, Lease, Measurement, Telemetry


def measurement(lease: Lease, folder: Path, exit_code: int | None, readings: Telemetry) -> Measurement:
    """``folder`` holds job.json, records.jsonl and perhaps ``EVALUATION``. ``exit_code``: negative where a signal ended
    the harness, None where it is not known.

    Raises DeviceError, InfrastructureError (killed from outside), or whatever side the harness's error record is on.
    """
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
        started_at=started_at(folder),
        **facts,
    )


def started_at(folder: Path) -> datetime:
    return datetime.fromtimestamp((folder / "job.json").stat().st_mtime, UTC)


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


def too_long(lease: Lease, folder: Path) -> FarmError:
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
