"""The duty that examines a night: its results against its baseline, once its run has ended.

What it finds and that the night is examined are written in one transaction, so that no night is examined twice or half.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from farm.analysis import regression
from farm.config import Settings
from farm.errors import UserError
from farm.store.database import Store
from farm.store.reading import Reading
from farm.store.regressions import OPEN
from farm.sweeps import noise
from farm.sweeps.findings import Known, Outcome, Weighing
from farm.sweeps.lines import Series, lines_of
from farm.sweeps.telling import tell_of_findings, tell_of_missing_nights
from farm.types import JobState, Night, NightState, Regression, RegressionState, Sweep

log = logging.getLogger(__name__)

NIGHTS = 60  # of history that a night is examined against, at least
_REMEMBERED = 500  # of those that were refuted or closed
_TOLD_BACK = timedelta(days=1)  # of what nobody was told in so long a time, nobody is


class Examination:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def turn(self, now: datetime) -> bool:
        self._tell(now)
        with self._store.reading() as reading:
            waiting = reading.nights_to_examine(limit=1)
        if not waiting:
            return False
        self._examine(waiting[0], now)
        return True

    def _examine(self, night: Night, now: datetime) -> None:
        with self._store.reading() as reading:
            sweep = reading.sweep(night.sweep)
            question = _question(reading, sweep, night)
        reason, outcome = "", Outcome((), ())
        floor: dict[str, float] = {}
        try:
            found = regression.examine(question.lines, sweep.spec.alerts, sweep.spec.baseline)
            weighing = Weighing(night, question.nights, question.lines, question.known, now, question.why_missing)
            outcome = weighing.outcome(found)
            floor = noise.floor(found)
            wild = noise.weigh(night, question.nights, question.lines, question.noisy, found, now)
            outcome = Outcome(outcome.new + wild.new, outcome.changed + wild.changed)
        except UserError as error:
            reason = f"not examined: {error}"
        except Exception as error:  # a mistake of ours: it must not end this process again and again
            log.exception("Night %d of %s", night.id, night.sweep)
            reason = f"not examined: {type(error).__name__}: {error} (a mistake of the farm: its log has more)"
        with self._store.transaction() as tx:
            values = {"state": NightState.EXAMINED, "reason": reason, "ended_at": now}
            if not tx.set_night(night.id, [NightState.RUNNING], **values):
                return
            tx.set_noise(floor)
            for new in outcome.new:
                tx.add_regression(new)
            before = {each.id: each.state for each in (*question.known.open, *question.noisy)}
            for changed in outcome.changed:
                if tx.regression(changed.id).state is before[changed.id]:  # nobody has closed it meanwhile
                    tx.set_regression(changed)
            suspected = tx.regressions(night_id=night.id, states=[RegressionState.SUSPECTED], limit=1)
            if not suspected:
                tell_of_findings(tx, sweep, night, self._settings, now)
        log.info("Night %d of %s: %d new regressions", night.id, night.sweep, len(outcome.new))

    def _tell(self, now: datetime) -> None:
        with self._store.reading() as reading:
            if not reading.nights_untold(now - _TOLD_BACK):
                return
        with self._store.transaction() as tx:
            tell_of_missing_nights(tx, tx.nights_untold(now - _TOLD_BACK), now)


@dataclass(frozen=True)
class _Question:
    """All that the examination of a night needs to know."""

    nights: list[Night]
    lines: list[regression.Line]
    known: Known
    noisy: list[Regression]
    why_missing: Callable[[Series], str]


def _question(reading: Reading, sweep: Sweep, night: Night) -> _Question:
    spec = sweep.spec
    nights = reading.nights_until(night, 1 + max(NIGHTS, spec.baseline.nights))
    metrics = {rule.metric for rule in spec.alerts}
    points = reading.night_points(night.sweep, since=nights[0].due_at, metrics=metrics)
    pinned = reading.points_of_run(spec.baseline.run_id) if spec.baseline.run_id is not None else []
    still = reading.regressions(sweep=night.sweep, states=OPEN, limit=None)
    refuted, closed = (
        reading.regressions(sweep=night.sweep, states=[state], limit=_REMEMBERED)
        for state in (RegressionState.REFUTED, RegressionState.CLOSED)
    )
    lasting = [*still, *(each for each in closed if each.ended_night_id is None)]
    known = Known([each for each in lasting if each.kind != "noisy"], refuted)
    wild = [each for each in lasting if each.kind == "noisy"]
    lines = lines_of(spec, nights, points, pinned)
    return _Question(nights, lines, known, wild, _reasons(reading, night))


def _reasons(reading: Reading, night: Night) -> Callable[[Series], str]:
    """Why a series has no result that night."""
    said: dict[Series, str] = {}
    for job in reading.jobs(night.run_id) if night.run_id is not None else ():
        if job.state is not JobState.FINISHED:
            text = str(job.failure or job.reason) or f"its job was {job.state}"
            said[Series(job.recipe.name, job.device_id, str(job.scenario))] = text

    def why(series: Series) -> str:
        return said.get(series, f"the night had no job on {series.device}: it did not match, or was not there")

    return why
