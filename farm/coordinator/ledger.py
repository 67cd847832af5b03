"""Writes down what the state machine decided, for the store to commit together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby
from typing import cast

from farm.coordinator.instructions import EndRun, Instruction, MoveJobs, SetBuild, SetDevice, SetJob
from farm.metrics.publications import of_run
from farm.store.devices import DeviceChange
from farm.store.transaction import JobChange, Transaction
from farm.types import Build, BuildState

_WRITTEN = (SetJob, SetBuild, SetDevice, MoveJobs, EndRun)


def write_down(instructions: Iterable[Instruction], tx: Transaction, *, publishing: bool = False) -> None:
    """Those that say how something is now; what is to be done is left to the coordinator. ``publishing``: a Prometheus
    is to hear of the ends of runs.

    Those of a kind that follow each other go together: a large run sets thousands at once.
    """
    now = datetime.now(UTC)
    for kind, group in groupby((one for one in instructions if isinstance(one, _WRITTEN)), type):
        if kind is SetJob:
            _set_jobs(cast(Iterable[SetJob], group), tx, now)
        elif kind is SetDevice:
            tx.set_devices([_device_change(one) for one in cast(Iterable[SetDevice], group)])
        else:
            for instruction in group:
                _write(instruction, tx, now, publishing)


def _set_jobs(instructions: Iterable[SetJob], tx: Transaction, now: datetime) -> None:
    changes = [JobChange(one.job_id, one.state, one.reason, one.failure, one.epoch) for one in instructions]
    tx.set_jobs(changes)
    tx.append_job_events(changes, now)


def _device_change(one: SetDevice) -> DeviceChange:
    return DeviceChange(one.id, one.state, one.health, one.health_reason, one.failures, one.maintenance)


def _write(instruction: Instruction, tx: Transaction, now: datetime, publishing: bool) -> None:
    match instruction:
        case SetBuild(key, state, runs, failure):
            build = tx.build(key)
            tx.set_build(key, state, build.artifact, failure)
            text = failure.message if failure else _built(build) if state is BuildState.BUILT else ""
            for run_id in sorted(runs):
                tx.append_event(run_id, "build", build.recipe.name, state, text, now)
        case MoveJobs(job_ids, device_id):
            tx.move_jobs(job_ids, device_id)
        case EndRun(run_id, state):
            tx.set_run(run_id, state, now)
            tx.append_event(run_id, "run", str(run_id), state, "", now)
            if publishing and (publication := of_run(tx.run(run_id))):
                tx.publish(publication, now)


def _built(build: Build) -> str:
    return f"in {build.built.report.seconds:.1f} s, {build.built.size_bytes / 2**20:.1f} MiB"
