"""Thirty nights of a sweep with planted regressions: are they reported, and only they, and is any result lost?

    python -m tests.bench.nightly [DEVICES VARIANTS NIGHTS]

Everything is the farm's own but the phones, whose figures come from ``tests.unit.analysis.simulated``: results, history
and outbox in one transaction, the publisher as a process of its own, a real Prometheus, the duties that examine a night
and measure suspects once more. Half-way through, the writer of a night, the publisher and Prometheus are each killed by
SIGKILL. The comparison with Prometheus, which a farm makes each day, is made every few nights (their days pass in
seconds). At the end results in the database are counted against the plan, and in Prometheus, by day and series, against
the database; and every query of every dashboard is timed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from json import loads
from pathlib import Path

from farm.config import Settings
from farm.metrics.reconciliation import DAY, check_day, mend
from farm.metrics.remotewrite import Endpoint
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps.confirmation import Confirmation
from farm.sweeps.examination import Examination
from farm.types import Regression, RegressionState
from tests.bench import report
from tests.integration.metrics.prometheus import Prometheus
from tests.integration.metrics.swept import SWEEP, World, found, measure_again, pass_night

DEVICES, VARIANTS, NIGHTS = 100, 20, 30
SERIES_BUDGET_PER_LINE = 16  # of a device and variant: docs/metrics.md
_COMPARED_NIGHTS = 5  # of six days, which Prometheus takes
_AWAY_SECONDS = 2.0
_PUSH_SECONDS = 600.0
_ROOT = Path(__file__).parents[2]


class Child:
    """A process of ours that can be killed and comes back."""

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path) -> None:
        self._arguments, self._environment, self._log = arguments, environment, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments, cwd=_ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    def ended_well(self) -> bool:
        assert self._process is not None
        return self._process.wait(_PUSH_SECONDS) == 0


class Trial:
    """One sweep from its first night to its last, and what was told of it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.world = world
        self.settings = Settings(state_dir=folder)
        self.store = Store(self.settings.resolved_database_url)
        self.store.migrate()
        self.artifacts = ArtifactStore(self.settings.resolved_store_url)
        self.prometheus = Prometheus(folder)
        environment = os.environ | {
            "FARM_STATE_DIR": str(folder),
            "FARM_REMOTE_WRITE_URL": self.prometheus.write_url,
            "FARM_PROMETHEUS_URL": self.prometheus.url,
            "PYTHONPATH": str(_ROOT),
        }
        self._environment, self._log = environment, folder / "child.log"
        self.publisher = Child([sys.executable, "-m", "farm.metrics"], environment, self._log)
        self.endpoint = Endpoint(self.prometheus.write_url, self.prometheus.url)
        self.measured_again, self.mended, self.examine_seconds = 0, 0, [0.0]

    def nights(self) -> None:
        found(self.store, self.world)
        for night in range(self.world.nights):
            if night == self.world.nights // 2:
                self._night_with_kills(night)
            else:
                pass_night(self.store, self.artifacts, self.world, night)
            self._examine(night)
            if (night + 1) % _COMPARED_NIGHTS == 0 or night + 1 == self.world.nights:
                self._compare(night)
            print(f"night {night + 1} of {self.world.nights}: {self.examine_seconds[-1]:.1f} s to examine", flush=True)

    def _night_with_kills(self, night: int) -> None:
        world = self.world
        numbers = [str(each) for each in (world.devices, world.variants, world.nights)]
        writer = Child(
            [
                sys.executable,
                "-m",
                "tests.integration.metrics.swept",
                str(self.settings.state_dir),
                *numbers,
                world.last.isoformat(),
                str(night),
            ],
            self._environment,
            self._log,
        )
        before = self.results()
        writer.start()
        while self.results() == before and not _over(writer):
            time.sleep(0.02)
        writer.kill()
        self.publisher.kill()
        self.prometheus.kill()
        self.publisher.start()  # and finds nobody who would take what it has
        time.sleep(_AWAY_SECONDS)
        self.prometheus.start()
        writer.start()
        assert writer.ended_well(), self._log.read_text()[-3000:]

    def _examine(self, night: int) -> None:
        now = self.world.begin(night) + timedelta(hours=3)
        examination, confirmation = (
            Examination(self.store, self.settings),
            Confirmation(self.store, self.artifacts, self.settings),
        )
        began = time.perf_counter()
        while examination.turn(now):
            pass
        self.examine_seconds.append(time.perf_counter() - began)
        while confirmation.turn(now):
            self.measured_again += measure_again(self.store, self.world, night)

    def _compare(self, night: int) -> None:
        """And push again what Prometheus lacks of the last nights."""
        self.until_pushed()
        days = self.days(max(0, night + 1 - _COMPARED_NIGHTS), night)
        for check in mend(self.store, self.endpoint, days, datetime.now(UTC)):
            if check.found < check.expected:
                print(f"Prometheus has {check.found} of {check.expected} results of {check.day}", flush=True)
                self.mended += check.expected - check.found
        self.until_pushed()

    def days(self, first: int, last: int) -> list[datetime]:
        """On which these nights measured."""
        begin, end = self.world.begin(first), self.world.begin(last) + timedelta(hours=4)
        day = begin.replace(hour=0, minute=0, second=0)
        return [day + number * DAY for number in range((end - day) // DAY + 1)]

    def results(self) -> int:
        with self.store.reading() as reading:
            return sum(reading.outbox_counts().values())

    def until_pushed(self) -> None:
        deadline = time.monotonic() + _PUSH_SECONDS
        while True:
            with self.store.reading() as reading:
                if not reading.outbox_counts()["pending"]:
                    return
            assert time.monotonic() < deadline, self._log.read_text()[-3000:]
            time.sleep(0.5)

    def told(self) -> list[Regression]:
        with self.store.reading() as reading:
            return reading.regressions(sweep=SWEEP, limit=None)


def _over(child: Child) -> bool:
    return child._process is not None and child._process.poll() is not None


@contextmanager
def trial(folder: Path, world: World) -> Iterator[Trial]:
    made = Trial(folder, world)
    try:
        made.prometheus.start()
        made.publisher.start()
        made.nights()
        made.until_pushed()
        yield made
    finally:
        made.publisher.kill()
        made.prometheus.kill()
        made.store.close()


def verdict(made: Trial) -> dict[str, float]:
    """Planted: the four changes and the noisy phone. Reported: of the records people hear of. False: any other."""
    planted = {
        (f"phone-{phone:04d}", f"variant-{variant:02d}"): name
        for name, (phone, variant, _) in made.world.planted.items()
    }
    reported: set[str] = set()
    false = 0
    told = made.told()
    for each in told:
        if each.state not in (RegressionState.CONFIRMED, RegressionState.ENDED):
            continue
        if each.kind == "noisy":
            planted_one = each.key.device == f"phone-{made.world.noisy:04d}"
            reported |= {"noisy"} if planted_one else set()
            false += not planted_one
            continue
        places = {(member.key.device, member.key.variant) for member in each.members}
        if places <= set(planted):
            reported |= {planted[place] for place in places}
        else:
            false += 1
    return {
        "planted": len(planted) + 1,
        "reported": len(reported),
        "false_reports": false,
        "suspected": len(told),
        "refuted": sum(each.state is RegressionState.REFUTED for each in told),
        "unconfirmed": sum(each.state is RegressionState.UNCONFIRMED for each in told),
    }


def queries() -> Iterator[tuple[str, str]]:
    """Of every panel, as Grafana sends them with everything chosen."""
    values = {"model": ".*", "platform": ".*", "device_model": ".*", "device": "phone-0000", "threshold": "1.05"}
    values |= {"__range": "30d", "__rate_interval": "5m"}
    for path in sorted((_ROOT / "dashboards" / "json").glob("*.json")):
        for panel in loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield path.stem, re.sub(r"\$(\w+)", lambda given: values.get(given[1], ".*"), target["expr"])


def query_seconds(prometheus: Prometheus) -> list[float]:
    took = []
    for _, query in queries():
        began = time.perf_counter()
        prometheus.query(query)
        took.append(time.perf_counter() - began)
    return sorted(took)


def figures(made: Trial, wall_seconds: float) -> dict[str, float]:
    world = made.world
    planned = world.devices * world.variants * world.nights - 1
    checks = [check_day(made.store, made.endpoint, day, datetime.now(UTC)) for day in made.days(0, world.nights - 1)]
    results = sum(check.expected for check in checks)
    series = made.prometheus.count('count(last_over_time({__name__=~"farm_result_.+"}[60d]))')
    took = query_seconds(made.prometheus)
    with made.store.reading() as reading:
        dead = reading.outbox_counts()["dead"]
    return {
        **verdict(made),
        "wall_seconds": wall_seconds,
        "devices": world.devices,
        "variants": world.variants,
        "nights": world.nights,
        "results": results,
        "unwritten_results": planned - results,
        "mended_results": made.mended,
        "lost_results": sum(abs(check.expected - check.found) for check in checks),
        "dead_letters": dead,
        "measured_again_jobs": made.measured_again,
        "examine_last_night_seconds": made.examine_seconds[-1],
        "series": series,
        "series_budget": world.devices * world.variants * SERIES_BUDGET_PER_LINE,
        "dashboard_queries": len(took),
        "query_median_seconds": took[len(took) // 2],
        "query_max_seconds": took[-1],
    }


def main(arguments: list[str]) -> None:
    devices, variants, nights = (int(each) for each in arguments) if arguments else (DEVICES, VARIANTS, NIGHTS)
    last = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, trial(Path(folder), World(devices, variants, nights, last)) as made:
        measured = figures(made, time.perf_counter() - began)
        for each in made.told():
            print(f"{each.state:12} {each.kind:8} {each.worst.key}: {each.worst.change} {each.reason}")
    print(report.table([("figure", "value"), *((key, float(value)) for key, value in measured.items())]))
    print(f"\nWritten to {report.write('nightly', measured)}.")


if __name__ == "__main__":
    main(sys.argv[1:])
