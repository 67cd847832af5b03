"""Works results out in a process of its own: in a thread of the coordinator it would hold up every start of a job."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from farm.coordinator.labelled import Labelled
from farm.errors import InfrastructureError
from farm.types import Artifact, Job, Measurement, ModelSpec, Protocol, Result

log = logging.getLogger(__name__)

_TRIES = 3
_PR_SET_PDEATHSIG = 1  # prctl(2)


class Conclusion(NamedTuple):
    """``samples``: a Parquet file, ``record``: the measurement as JSON."""

    result: Result
    samples: bytes
    record: bytes


class Concluder:
    """Has one process, and another one where that was killed."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> ProcessPoolExecutor:
        """Have the process ready: it takes a second, which should not fall into the first result's way."""
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _prepare, (os.getpid(),))
        self._pool.submit(int)  # the first submission starts it
        return self._pool

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def conclude(
        self,
        job: Job,
        artifact: Artifact,
        measurement: Measurement,
        protocol: Protocol,
        labelled: Labelled | str | None = None,
        model: ModelSpec | None = None,
    ) -> Conclusion:
        """Raises whatever ``farm.analysis.conclusion.conclude`` does, and InfrastructureError where the process was
        killed again and again."""
        for _ in range(_TRIES):
            pool = self._pool or self.start()
            try:
                return await asyncio.wrap_future(
                    pool.submit(_conclude, job, artifact, measurement, protocol, labelled, model)
                )
            except BrokenProcessPool:
                log.warning("the process that works results out was killed: another one is started")
                if self._pool is pool:  # nobody else has seen to it
                    self.start()
        raise InfrastructureError(
            f"The process that works results out was killed {_TRIES} times.", remedy="Is there enough memory?"
        )


def _prepare(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's business
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    import farm.analysis.conclusion
    import farm.store.samples  # noqa: F401


def _conclude(
    job: Job,
    artifact: Artifact,
    measurement: Measurement,
    protocol: Protocol,
    labelled: Labelled | str | None,
    model: ModelSpec | None,
) -> Conclusion:
    from farm.analysis.conclusion import conclude
    from farm.store import samples

    evaluation = labelled.evaluated(protocol.confidence) if isinstance(labelled, Labelled) else labelled
    result = conclude(
        job,
        artifact,
        measurement,
        protocol,
        evaluation,
        filled=model.filled if model else (),
        host_preprocess_seconds=model.host_preprocess_seconds if model else None,
    )
    parquet = samples.write(measurement.warmup_samples_seconds, measurement.latency_samples_seconds)
    return Conclusion(result, parquet, as_record(measurement))


def as_record(measurement: Measurement) -> bytes:
    return measurement.model_dump_json().encode()
