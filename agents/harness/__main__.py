"""``python -m agents.harness JOB.json``: exit code 0 with an ``end`` record, 1 with an ``error`` record, 2 when the job
file or the records file cannot be used (the reason is on standard error)."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from agents.harness import affinity
from agents.harness.failure import Failure
from agents.harness.job import Job
from agents.harness.records import Writer

# Libraries size their thread pools from these when they are loaded.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m agents.harness JOB.json\n")
        return 2
    try:
        job = Job.read(Path(arguments[0]))
        writer = Writer(job.records)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"The harness cannot start: {error}\n")
        return 2
    with writer:
        return _run(job, writer)


def _run(job: Job, writer: Writer) -> int:
    writer.write(
        "start",
        runtime=job.runtime,
        threads=job.threads,
        cpus=job.cpus,
        batch=job.batch,
        pid=os.getpid(),
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
        uptime_seconds=_uptime_seconds(),
    )
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(job.threads)))
    try:
        affinity.pin(job.cpus)
        from agents.harness.measurement import measure  # imports numpy: only once threads and CPUs are set

        measure(job, writer)
    except Failure as failure:
        writer.write(
            "error",
            code=failure.code,
            message=failure.message,
            remedy=failure.remedy,
            fault=failure.fault,
            traceback="".join(traceback.format_exception(failure)),
        )
        return 1
    writer.write("end", uptime_seconds=_uptime_seconds())
    return 0


def _uptime_seconds() -> float | None:
    """What a shell script on the same device tells the time by: with a record's own time it aligns the two clocks, and
    with both records it shows whether the device slept in between, which CLOCK_MONOTONIC does not count."""
    try:
        return float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
