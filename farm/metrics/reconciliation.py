"""Compares Prometheus with the database, whose results are the truth, and puts what it lacks into the outbox again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from farm.metrics import catalogue
from farm.metrics.publications import of_result, of_run
from farm.metrics.remotewrite import Endpoint
from farm.store.database import Store
from farm.store.outbox import OutboxReading
from farm.types import DayCheck, Point, Publication

log = logging.getLogger(__name__)

DAYS = 6  # whole days within the window of seven in which Prometheus takes what is late
SETTLED = timedelta(hours=1)  # after midnight: what was measured before is pushed
DAY = timedelta(days=1)
_STEP = timedelta(hours=1)  # put into the outbox in one transaction


def reconcile(store: Store, endpoint: Endpoint, now: datetime) -> list[DayCheck]:
    """Once a day, and only if it is known where to ask: the days that were looked at, the oldest first.

    Raises InfrastructureError: then it is due still.
    """
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with store.reading() as reading:
        checked = max((check.checked_at for check in reading.day_checks()), default=None)
    if not endpoint.can_query or now < today + SETTLED or (checked and checked >= today):
        return []
    return mend(store, endpoint, [today - number * DAY for number in range(DAYS, 0, -1)], now)


def mend(store: Store, endpoint: Endpoint, days: Iterable[datetime], now: datetime) -> list[DayCheck]:
    """Look at the days that begin then, and push again what was measured on those of which something is lacking.

    Raises InfrastructureError: then nothing is noted.
    """
    checks = [check_day(store, endpoint, begin, now) for begin in days]
    with store.transaction() as tx:  # together, so that what was broken off is done again as a whole
        for check in checks:
            tx.note_day(check)
    for check in checks:
        if check.found < check.expected:
            begin = datetime.fromisoformat(check.day).replace(tzinfo=UTC)
            again = republish(store, begin, begin + DAY, now)
            log.warning(
                "Prometheus has %d of the %d results of %s as a whole: %d are pushed again",
                check.found,
                check.expected,
                check.day,
                again,
            )
    return checks


def check_day(store: Store, endpoint: Endpoint, begin: datetime, now: datetime) -> DayCheck:
    """Results measured on the day that begins then, without those that were refused for good. Each of their series is
    counted: Prometheus, collecting what is out of its head, can lose one sample of a result that it took
    (https://github.com/prometheus/prometheus/issues/8365). Found: of the series that lacks most.

    Raises InfrastructureError.
    """
    expected = 0
    samples = Counter({catalogue.TRUSTED.name: 0})  # of every result
    with store.reading() as reading:
        refused = reading.refused_results(begin, begin + DAY)
        for job, device, model_name, result in reading.measured_between(begin, begin + DAY):
            if job.id not in refused:
                expected += 1
                samples.update(_selector(point) for point in of_result(job, device, model_name, result).points)
    # Up to its last millisecond: that of the next day is not part of it.
    last_seconds = (begin + DAY).timestamp() - 0.001
    lacking = max(
        count - round(endpoint.sum_at(f"sum(count_over_time({selector}[1d]))", last_seconds))
        for selector, count in samples.items()
    )
    return DayCheck(day=f"{begin:%Y-%m-%d}", expected=expected, found=expected - lacking, checked_at=now)


def _selector(point: Point) -> str:
    """What a result has one sample of."""
    labels = ",".join(f'{name}="{value}"' for name, value in point.labels.items())
    return f"{point.name}{{{labels}}}" if labels else point.name


def republish(store: Store, since: datetime, until: datetime, now: datetime) -> int:
    """Put everything measured or finished in [since, until) into the outbox once more; how many."""
    with store.reading() as reading:
        begin = max(since, reading.first_result_at() or until)
    count = 0
    while begin < until:
        end = min(begin + _STEP, until)
        with store.transaction() as tx:
            for publication in list(publications(tx, begin, end)):
                tx.publish(publication, now)
                count += 1
        begin = end
    return count


def publications(reading: OutboxReading, since: datetime, until: datetime) -> Iterator[Publication]:
    """Of all results measured and all runs that finished in [since, until), from the database."""
    for job, device, model_name, result in reading.measured_between(since, until):
        yield of_result(job, device, model_name, result)
    for run in reading.runs_finished_between(since, until):
        if publication := of_run(run):
            yield publication
