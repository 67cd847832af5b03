"""What becomes of a night: it waits, its model is prepared, its run is submitted. ``python -m farm.sweeps`` has this as
its first duty.

All of it is in the store; what a killed process had begun to prepare is begun again. Sources take their time, a command
of a repository up to hours: each is prepared in a thread, so that other nights are not late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from farm.config import Settings
from farm.coordinator.nudge import Nudge
from farm.errors import FarmError, InfrastructureError, QuotaError
from farm.planning.quotas import check_jobs
from farm.selectors import parse
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps.asked import Asked
from farm.sweeps.firing import fire
from farm.sweeps.retries import Retries
from farm.types import Model, ModelSource, Night, NightState, RunSpec, SweepSpec

log = logging.getLogger(__name__)

AT_A_TIME = 2  # sources


class Prepared(Protocol):
    """``version``: of the model at its source."""

    @property
    def model(self) -> Model: ...

    @property
    def version(self) -> str: ...


class Prepare(Protocol):
    """As ``farm.sweeps.sources.prepare``."""

    def __call__(
        self, source: ModelSource, store: Store, artifacts: ArtifactStore, settings: Settings, by: str, *, name: str
    ) -> Prepared: ...


class Nights:
    def __init__(self, store: Store, artifacts: ArtifactStore, settings: Settings, prepare: Prepare) -> None:
        self._store, self._artifacts, self._settings, self._prepare = store, artifacts, settings, prepare
        self._nudge = Nudge(settings.state_dir)
        self._work: dict[int, _Work] = {}  # by night
        self._retries = Retries()

    def turn(self, now: datetime) -> bool:
        """Raises InfrastructureError where the database does not serve."""
        fired, begun = self._fire(now), self._begin(now)
        settled = self._go_on(now)
        return fired or begun or settled

    def _fire(self, now: datetime) -> bool:
        with self._store.reading() as reading:
            if reading.first_due_sweep(now) is None:
                return False
        with self._store.transaction() as tx:
            if sweep := tx.first_due_sweep(now):
                fire(tx, sweep, now)
        return True

    def _begin(self, now: datetime) -> bool:
        with self._store.reading() as reading:
            if not reading.nights_in(NightState.WAITING):
                return False
        begun = False
        with self._store.transaction() as tx:
            for night in tx.nights_in(NightState.WAITING):
                if earlier := tx.night_in_the_way(night.sweep):
                    reason = f"waits for night {earlier.id}, which is {earlier.state}"
                    if reason != night.reason:
                        tx.set_night(night.id, [NightState.WAITING], reason=reason)
                else:
                    tx.set_night(night.id, [NightState.WAITING], state=NightState.PREPARING, reason="", started_at=now)
                    begun = True
        return begun

    def _go_on(self, now: datetime) -> bool:
        """Start, or take, what is prepared; whether a night is settled."""
        with self._store.reading() as reading:
            preparing = reading.nights_in(NightState.PREPARING)
        settled = False
        for night in preparing:
            work = self._work.get(night.id)
            if work is None:
                if len(self._work) < AT_A_TIME and not self._retries.rests(night.id):
                    self._start(night)
            elif not work.is_alive():
                del self._work[night.id]
                settled |= self._settle(night, work, now)
        return settled

    def _start(self, night: Night) -> None:
        with self._store.reading() as reading:
            spec = reading.sweep(night.sweep).spec
        by = night.requested_by
        self._work[night.id] = work = _Work(
            spec,
            lambda: self._prepare(spec.model, self._store, self._artifacts, self._settings, by, name=spec.name),
        )
        work.start()

    def _settle(self, night: Night, work: _Work, now: datetime) -> bool:
        try:
            self._submit(night, work.spec, work.result(), now)
        except (InfrastructureError, QuotaError) as error:
            seconds = self._retries.later(night.id, now, since=night.started_at)
            if seconds is not None:
                self._pause(night, error, seconds)
                return False
            self._fail(night, str(error), now)
        except FarmError as error:
            self._fail(night, str(error), now)
        except Exception as error:  # a mistake of ours: it must not end this process again and again
            log.exception("Night %d of %s", night.id, night.sweep)
            self._fail(night, f"{type(error).__name__}: {error} (a mistake of the farm: its log has more)", now)
        self._retries.settled(night.id)
        return True

    def _submit(self, night: Night, spec: SweepSpec, prepared: Prepared, now: datetime) -> None:
        from farm.planning.submission import expanded

        wanted = run_of(spec, night, prepared.model)
        with self._store.reading() as reading:
            wanted, model, expansion = expanded(wanted, reading, self._settings)
        with self._store.transaction() as tx:
            if tx.night(night.id).state is not NightState.PREPARING:
                return
            check_jobs(self._settings, tx, night.requested_by, len(expansion.jobs))
            run = tx.add_run(wanted, model, expansion.jobs, expansion.builds, night.requested_by, now, expansion.pools)
            tx.set_night(
                night.id,
                [NightState.PREPARING],
                state=NightState.RUNNING,
                reason="",
                run_id=run.id,
                model_id=model.id,
                version=prepared.version,
            )
        self._nudge.send()
        log.info("Night %d of %s is run %d", night.id, night.sweep, run.id)

    def _pause(self, night: Night, error: FarmError, seconds: float) -> None:
        log.warning("Night %d of %s, again in %.0f s: %s", night.id, night.sweep, seconds, error)
        with self._store.transaction() as tx:
            tx.set_night(night.id, [NightState.PREPARING], reason=f"is tried again: {error}")

    def _fail(self, night: Night, reason: str, now: datetime) -> None:
        log.warning("Night %d of %s failed: %s", night.id, night.sweep, reason)
        with self._store.transaction() as tx:
            tx.set_night(night.id, [NightState.PREPARING], state=NightState.FAILED, reason=reason, ended_at=now)


def run_of(spec: SweepSpec, night: Night, model: Model) -> RunSpec:
    """Where every device that matches is measured, one that lacks a runtime costs the others nothing: its own jobs end
    with that as their reason."""
    return RunSpec(
        model=model.id,
        recipes=spec.recipes,
        devices=spec.devices,
        scenarios=spec.scenarios,
        protocol=spec.protocol,
        name=f"{spec.name} {night.due_at:%Y-%m-%d %H:%M}",
        priority=spec.priority,
        keep_unable=parse(spec.devices).quantifier.kind == "each",
    )


class _Work(Asked[Prepared]):
    def __init__(self, spec: SweepSpec, prepare: Callable[[], Prepared]) -> None:
        super().__init__(prepare)
        self.spec = spec
