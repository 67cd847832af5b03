"""A run of 10,000 jobs: how long its submission takes, and whether the API goes on answering meanwhile and afterwards.

    python -m tests.bench.submit

On the real farm with 100, 1,000 and 10,000 virtual devices: one client submits, and another process reads what a
dashboard reads, one request after the other: before that (``idle``), and until the fleet has worked on the run for a
while, which are the figures without such a name.
``take_in_seconds`` goes from the answer until no job of the run waits for the coordinator; the artifact is built
before. What a finished job costs is measured on real jobs of virtual devices (100 samples each), between the ends of
two equal runs, so that what a farm needs once is not counted.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import psutil

import farm
from farm.config import Settings
from farm.connection import API_PREFIX
from farm.recipes import presets
from farm.server.tokens import issue_token
from farm.store.database import Store
from farm.types import JobState, Role
from tests.bench import report

DEVICES = (100, 1_000, 10_000)
JOBS = 10_000
MAIN = 1_000  # the number of devices whose figures have the plain names
IDLE_SECONDS = 10.0  # reading begins so long before the submission
WORK_SECONDS = 20.0  # reading goes on so long after the run was taken in
REQUESTS_PER_SECOND = 50
ANSWER_SECONDS = 60.0  # no request takes longer, or the reader has failed
JOBS_TO_FINISH = 2_000  # per run
PROTOCOL = farm.Protocol(min_warmup_seconds=0, min_samples=100, max_samples=100, min_seconds=0)
# A job takes seconds while requests are timed; hardly any time where only its traces count.
PROFILE = """
time_scale: {time_scale}
kinds:
  - {{name: metronome, platform: linux, soc: none, abi: none, os_version: "1", memory_gib: 1, cpu_count: 1,
     clock_ghz: 1, latency: {{median_seconds: 0.02}}, thermal: {{rise_celsius: 0, time_constant_seconds: 1,
     throttle_celsius: 99, limit_celsius: 100}}}}
"""


class Bench:
    """A farm with so many virtual devices, a model that is built for them, and a way to look behind the API."""

    def __init__(self, client: farm.Client, state_dir: Path) -> None:
        import torch

        self.client, self._state_dir = client, state_dir
        self.store = Store(Settings(state_dir=state_dir).resolved_database_url)
        self.token = issue_token(self.store, "reader", Role.VIEWER)
        linear = client.add_model(torch.nn.Linear(8, 8), example_inputs=(torch.ones(1, 8),), name="linear")
        self.model_id = linear.id
        self.small = self.submit("virtual=true, any(20)", 1)
        self.small.wait()

    def submit(self, devices: str, recipes: int) -> farm.RunHandle:
        """One artifact under so many names."""
        recipe = presets.parse("onnxruntime")
        named = [recipe.model_copy(update={"name": f"variant-{number}"}) for number in range(recipes)]
        return self.client.submit(self.model_id, recipes=named, devices=devices, protocol=PROTOCOL)

    def waiting(self, run_id: int) -> int:
        with self.store.reading() as reading:
            return reading.run(run_id).jobs.get(JobState.WAITING, 0)

    def head_rss_bytes(self) -> int:
        """Coordinator and API."""
        return sum(
            process.memory_info().rss
            for process in psutil.Process().children(recursive=True)
            if {"farm.coordinator", "farm.server"} & set(process.cmdline())
        )

    def stored_bytes(self) -> tuple[int, int]:
        """Database and artifact store, on disk."""
        with self.store.transaction():  # nobody writes meanwhile
            database = sum(path.stat().st_size for path in self._state_dir.glob("farm.db*") if path.suffix != ".db-shm")
        return database, sum(path.stat().st_blocks * 512 for path in (self._state_dir / "store").rglob("*"))


@contextmanager
def bench(devices: int, time_scale: float) -> Iterator[Bench]:
    # What measured when the farm was ended may write for a moment longer.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "metronome.yaml").write_text(PROFILE.format(time_scale=time_scale))
        environment = {
            "FARM_AGENT_VIRTUAL_DEVICES": str(devices),
            "FARM_AGENT_VIRTUAL_PROFILE": str(folder / "metronome.yaml"),
        }
        with farm.embedded_farm(folder / "state", environment) as client:
            while not client.devices() or len(client.devices("virtual=true")) < devices:
                time.sleep(0.5)
            farm_bench = Bench(client, folder / "state")
            yield farm_bench
            farm_bench.store.close()


def read(url: str, token: str, small_run: int, small_job: int, stop: Event, timings: multiprocessing.Queue) -> None:
    """In a process of its own: ask again and again, and put (what, when, seconds) into ``timings``."""
    paths = {
        "run": f"/runs/{small_run}",
        "newest_run": "/runs?limit=1",
        "runs": "/runs?limit=20",
        "devices": "/devices",
        "attempts": f"/jobs/{small_job}/attempts",
        "outcomes": f"/runs/{small_run}/outcomes",
        "health": "/health",
    }
    taken: list[tuple[str, float, float]] = []
    with httpx.Client(
        base_url=url + API_PREFIX, headers={"Authorization": f"Bearer {token}"}, timeout=ANSWER_SECONDS
    ) as http:
        while not stop.is_set():
            for what, path in paths.items():
                began = time.perf_counter()
                http.get(path).raise_for_status()
                seconds = time.perf_counter() - began
                taken.append((what, time.time(), seconds))
                time.sleep(max(0.0, 1 / REQUESTS_PER_SECOND - seconds))
    timings.put(taken)


def measure(devices: int) -> dict[str, float]:
    spawn = multiprocessing.get_context("spawn")
    with bench(devices, time_scale=1.0) as at:
        (job, *_) = at.small.outcomes()
        stop, timings = spawn.Event(), spawn.Queue()
        reader = spawn.Process(
            target=read, args=(at.client.url, at.token, at.small.id, job.job.id, stop, timings), daemon=True
        )
        reader.start()
        time.sleep(IDLE_SECONDS)
        began, began_at = time.perf_counter(), time.time()
        run = at.submit("virtual=true", JOBS // devices)
        answered = time.perf_counter()
        while at.waiting(run.id):
            time.sleep(0.05)
        taken_in = time.perf_counter()
        time.sleep(WORK_SECONDS)
        stop.set()
        taken = timings.get(timeout=ANSWER_SECONDS)
        reader.join()
        began_outcomes = time.perf_counter()
        run.outcomes()
        outcomes_seconds = time.perf_counter() - began_outcomes
    by_kind: dict[str, list[float]] = defaultdict(list)
    idle: list[float] = []
    for what, at_seconds, took in taken:
        (idle if at_seconds < began_at else by_kind[what]).append(took)
    seconds = [took for of_kind in by_kind.values() for took in of_kind]
    return {
        "submit_10000_jobs_seconds": answered - began,
        "take_in_seconds": taken_in - answered,
        "read_p50_seconds": statistics.median(seconds),
        "read_p99_seconds": p99(seconds),
        "read_max_seconds": max(seconds),
        "read_idle_p99_seconds": p99(idle),
        **{f"read_{what}_p99_seconds": p99(of_kind) for what, of_kind in by_kind.items()},
        "reads": len(seconds),
        "outcomes_of_10000_jobs_seconds": outcomes_seconds,
    }


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[98]


def finished_jobs() -> dict[str, float]:
    """What stays of a finished job."""
    with bench(MAIN, time_scale=0.01) as at:
        ends = []
        for _ in range(2):
            began = time.perf_counter()
            at.submit("virtual=true", JOBS_TO_FINISH // MAIN).wait()
            seconds = time.perf_counter() - began
            ends.append((*at.stored_bytes(), at.head_rss_bytes()))
    database, blobs, rss = (after - before for before, after in zip(*ends, strict=True))
    return {
        "bytes_per_finished_job": database / JOBS_TO_FINISH,
        "blob_bytes_on_disk_per_finished_job": blobs / JOBS_TO_FINISH,
        "head_rss_per_100k_jobs_bytes": rss / JOBS_TO_FINISH * 100_000,
        "head_rss_bytes": float(ends[-1][2]),
        "finished_jobs_per_second": JOBS_TO_FINISH / seconds,
    }


def main() -> None:
    grown = {}
    for devices in DEVICES:
        grown[devices] = measure(devices)
        print(f"{devices} devices", report.table([("figure", "value"), *grown[devices].items()]), sep="\n", flush=True)
    figures = {**grown[MAIN], **finished_jobs()}
    rows: list[list[object]] = [["figure", *(f"{devices} devices" for devices in DEVICES)]]
    rows += [[key, *(grown[devices][key] for devices in DEVICES)] for key in grown[MAIN]]
    print(report.table(rows), end="\n\n")
    print(report.table([("figure", "value"), *((key, float(value)) for key, value in figures.items())]))
    figures |= {f"{devices}_devices_{key}": value for devices in DEVICES for key, value in grown[devices].items()}
    print(f"\nWritten to {report.write('submit', figures)}.")


if __name__ == "__main__":
    main()
