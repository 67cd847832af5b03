"""The duty that looks for the version that a confirmed regression came with.

Binary search over the versions between the good and the bad night. A step prepares a version, measures it alone, which
builds it and shows that it runs, and then in turns with the good artifact, on a device that showed the regression. What
it came to is written before the next one begins, so that a killed process goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from farm.analysis import interleaved
from farm.analysis.quantities import quantity
from farm.config import Settings
from farm.coordinator.nudge import Nudge
from farm.errors import FarmError, InfrastructureError, InternalError
from farm.planning.submission import expanded
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.reading import Reading
from farm.store.transaction import NewJob, Transaction
from farm.sweeps import sources
from farm.sweeps.asked import Asked
from farm.sweeps.retries import GIVE_UP, Retries
from farm.sweeps.search import concluded, next_version
from farm.sweeps.telling import tell_of_culprit
from farm.sweeps.trial import Trial, evidence_of
from farm.sweeps.turns import in_turns, job_of, run_of
from farm.types import (
    Bisection,
    BisectionStep,
    Evidence,
    JobOutcome,
    JobState,
    Member,
    ModelSource,
    Origin,
    Regression,
    RegressionState,
    Run,
    RunSpec,
    RunState,
    Scenario,
    Sweep,
)

log = logging.getLogger(__name__)

CLEAR_SHARE = 0.5  # of what was confirmed: a version is bad if it is at least so much worse than the good one
_LOOKED_AT = 200  # confirmed regressions, the newest


class Source(Protocol):
    """As ``farm.sweeps.sources``."""

    def prepare(
        self,
        source: ModelSource,
        store: Store,
        artifacts: ArtifactStore,
        settings: Settings,
        by: str,
        *,
        name: str,
        version: str | None = None,
    ) -> sources.Prepared: ...

    def versions_between(self, source: ModelSource, good: str, bad: str, settings: Settings) -> tuple[str, ...]: ...


class Bisector:
    """One at a time. ``source`` is the seam for others than those of ``farm.sweeps.sources``."""

    def __init__(self, store: Store, artifacts: ArtifactStore, settings: Settings, source: Source = sources) -> None:
        self._store, self._artifacts, self._settings, self._source = store, artifacts, settings, source
        self._nudge = Nudge(settings.state_dir)
        self._work: _Work | None = None
        self._retries = Retries()

    @property
    def busy(self) -> bool:
        """Whether a source is being asked; a later turn takes its answer."""
        return self._work is not None

    def turn(self, now: datetime) -> bool:
        """Raises InfrastructureError where the database does not serve."""
        if self._work is not None:
            if self._work.is_alive():
                return False
            work, self._work = self._work, None
            return self._finish(work, now)
        with self._store.reading() as reading:
            found = reading.regressions(states=[RegressionState.CONFIRMED], limit=_LOOKED_AT)[::-1]
            busy = {
                each.night_id
                for each in reading.regressions(
                    states=[RegressionState.SUSPECTED, RegressionState.CONFIRMING], limit=None
                )
            }
        ready = [each for each in found if not self._retries.rests(each.id)]
        under_way = [each for each in ready if each.bisection and not each.bisection.over]
        if under_way:
            return self._go_on(under_way[0], now)
        fresh = [each for each in ready if each.kind == "worse" and not each.bisection and each.night_id not in busy]
        return self._begin(fresh[0], found, now) if fresh else False

    def _finish(self, work: _Work, now: datetime) -> bool:
        """Take what its source says; False where it is asked again, after a pause in which others have their turn."""
        id = work.regression.id
        try:
            work.take(work.result(), now)
        except InfrastructureError as error:
            seconds = self._retries.later(id, now)
            if seconds is not None:
                log.warning("The search of regression %d, again in %.0f s: %s", id, seconds, error)
                return False
            self._end(work.regression, f"its source has failed for hours: {error}", now)
        except FarmError as error:
            work.fail(error, now)
        except Exception as error:  # it must not end this process again and again
            log.exception("The search of regression %d", id)
            work.fail(InternalError(f"{type(error).__name__}: {error}.", remedy="Report it."), now)
        self._retries.settled(id)
        return True

    # --- begin ----------------------------------------------------------------------------------------

    def _begin(self, regression: Regression, found: Sequence[Regression], now: datetime) -> bool:
        member, _ = _proof(regression)
        good, bad = _version(member.old), _version(member.new)
        twin = next((each for each in found if each.bisection and _same_place(each, regression)), None)
        reason = ""
        if twin:
            reason = f"see regression {twin.id}, of the same night and variant"
        elif not good or not bad:
            reason = "the versions of the two nights are not known"
        elif good == bad:
            reason = "both nights measured the same version: what changed is what builds or runs it"
        if reason:
            self._end(regression, reason, now)
            return True
        with self._store.reading() as reading:
            sweep = reading.sweep(regression.key.sweep)
        self._start(
            regression,
            lambda: self._source.versions_between(sweep.spec.model, good, bad, self._settings),
            lambda candidates, at: self._write(regression, _started(good, bad, candidates), at),
            lambda error, at: self._end(regression, f"its source failed: {error}", at),
        )
        return False

    # --- steps ----------------------------------------------------------------------------------------

    def _go_on(self, regression: Regression, now: datetime) -> bool:
        bisection = regression.bisection
        if bisection is None:
            return False
        if bisection.run_id is not None:
            return self._look(regression, bisection, bisection.run_id, now)
        if bisection.trying is None:
            self._write(regression, bisection.model_copy(update={"trying": next_version(bisection)}), now)
            return True
        version = bisection.trying
        with self._store.reading() as reading:
            sweep = reading.sweep(regression.key.sweep)
        self._start(
            regression,
            lambda: self._source.prepare(
                sweep.spec.model,
                self._store,
                self._artifacts,
                self._settings,
                sweep.created_by,
                name=sweep.spec.name,
                version=version,
            ),
            lambda prepared, at: self._measure_alone(regression, bisection, sweep, prepared, at),
            lambda error, at: self._step(regression, bisection, None, None, f"it cannot be prepared: {error}", at),
        )
        return False

    def _measure_alone(
        self, regression: Regression, bisection: Bisection, sweep: Sweep, prepared: sources.Prepared, now: datetime
    ) -> None:
        member, _ = _proof(regression)
        try:
            with self._store.reading() as reading:
                wanted = self._alone(reading, member, sweep, prepared.model.id)
                spec, model, expansion = expanded(wanted, reading, self._settings)
        except InfrastructureError:
            raise
        except FarmError as error:
            self._step(regression, bisection, None, None, f"it cannot be measured: {error}", now)
            return
        known = {_build(member.old): False, _build(member.new): True}
        if (key := expansion.jobs[0].build_key) in known:
            same = "bad" if known[key] else "good"
            self._step(regression, bisection, None, known[key], f"its artifact is the {same} one's", now)
            return
        with self._store.transaction() as tx:
            if not _unchanged(tx, regression):
                return
            run = tx.add_run(spec, model, expansion.jobs, expansion.builds, sweep.created_by, now)
            _put(tx, regression, bisection.model_copy(update={"run_id": run.id}), now)
        self._nudge.send()

    def _alone(self, reading: Reading, member: Member, sweep: Sweep, model_id: str) -> RunSpec:
        """Raises NotFoundError."""
        recipe = reading.build(_build(member.new)).recipe
        return RunSpec(
            model=model_id,
            recipes=(recipe,),
            devices=f"id in ({member.key.device})",
            scenarios=(_scenario(sweep, member),),
            protocol=sweep.spec.protocol,
            name=f"{sweep.spec.name}: bisection",
            priority=sweep.spec.priority,
        )

    def _look(self, regression: Regression, bisection: Bisection, run_id: int, now: datetime) -> bool:
        with self._store.reading() as reading:
            runs = reading.runs(limit=1, before=run_id + 1)
            run = runs[0] if runs and runs[0].id == run_id else None
            if run is not None and run.state is RunState.ACTIVE:
                return self._give_up(regression, run, now) if now - run.created_at > GIVE_UP else False
            outcomes = reading.outcomes(run_id) if run else []
        member, proof = _proof(regression)
        if run is None or not outcomes:
            self._step(regression, bisection, None, None, f"run {run_id}, which measured it, was deleted", now)
        elif len(outcomes) == 1:
            self._measure_in_turns(regression, bisection, outcomes[0], now)
        else:
            evidence = _evidence(run_id, member, proof, outcomes)
            worse = {RegressionState.CONFIRMED: True, RegressionState.REFUTED: False}.get(evidence.outcome)
            self._step(regression, bisection, evidence, worse, "" if worse is not None else evidence.reason, now)
        return True

    def _give_up(self, regression: Regression, run: Run, now: datetime) -> bool:
        """Its device is away: the next version would wait as long, and other searches with it."""
        with self._store.transaction() as tx:
            if tx.run(run.id).state is RunState.ACTIVE:
                tx.request_cancel(run.id, now)
        self._nudge.send()
        device = _proof(regression)[0].key.device
        self._end(regression, f"{device} has not measured run {run.id} for hours", now)
        return True

    def _measure_in_turns(self, regression: Regression, bisection: Bisection, alone: JobOutcome, now: datetime) -> None:
        job = alone.job
        if job.state is not JobState.FINISHED:
            why = str(job.failure or job.reason) or f"its job was {job.state}"
            self._step(regression, bisection, None, None, f"it cannot be measured: {why}", now)
            return
        member, proof = _proof(regression)
        with self._store.transaction() as tx:
            if not _unchanged(tx, regression):
                return
            model = tx.model(tx.run(job.run_id).model_id)
            sweep = tx.sweep(regression.key.sweep)
            new = NewJob(job.recipe, job.build_key, job.reference_key, job.device_id, job.scenario)
            old = job_of(tx, _build(member.old), _model(member.old), job.device_id, job.scenario)
            jobs = list(in_turns(old, new, max(interleaved.EXACT_PAIRS, len(proof.pairs))))
            spec = run_of(sweep.spec, model, jobs, f"{sweep.spec.name}: bisection")
            run = tx.add_run(spec, model, jobs, {}, sweep.created_by, now)
            _put(tx, regression, bisection.model_copy(update={"run_id": run.id}), now)
        self._nudge.send()

    # --- what a step came to --------------------------------------------------------------------------

    def _step(
        self,
        regression: Regression,
        bisection: Bisection,
        evidence: Evidence | None,
        worse: bool | None,
        reason: str,
        now: datetime,
    ) -> None:
        step = BisectionStep(
            version=bisection.trying or "",
            run_id=bisection.run_id,
            change=evidence.change if evidence else None,
            worse=worse,
            reason=reason,
        )
        went_on = {"steps": (*bisection.steps, step), "trying": None, "run_id": None}
        self._write(regression, concluded(bisection.model_copy(update=went_on)), now)

    def _write(self, regression: Regression, bisection: Bisection, now: datetime) -> None:
        with self._store.transaction() as tx:
            if _unchanged(tx, regression):
                changed = _put(tx, regression, bisection, now)
                tell_of_culprit(tx, tx.sweep(regression.key.sweep), changed, self._settings, now)

    def _end(self, regression: Regression, reason: str, now: datetime) -> None:
        member, _ = _proof(regression)
        unbegun = Bisection(good=_version(member.old), bad=_version(member.new), candidates=())
        ended = {"trying": None, "run_id": None, "reason": reason}
        self._write(regression, (regression.bisection or unbegun).model_copy(update=ended), now)

    def _start(
        self,
        regression: Regression,
        ask: Callable[[], object],
        take: Callable[..., None],
        fail: Callable[[FarmError, datetime], None],
    ) -> None:
        self._work = _Work(regression, ask, take, fail)
        self._work.start()


class _Work(Asked[object]):
    """``take``, ``fail``: what becomes of its answer, of its error."""

    def __init__(
        self,
        regression: Regression,
        ask: Callable[[], object],
        take: Callable[..., None],
        fail: Callable[[FarmError, datetime], None],
    ) -> None:
        super().__init__(ask)
        self.regression, self.take, self.fail = regression, take, fail


def _started(good: str, bad: str, candidates: Sequence[str]) -> Bisection:
    if not candidates:
        return Bisection(
            good=good, bad=bad, candidates=(), reason="its source knows no versions between the two nights"
        )
    return concluded(Bisection(good=good, bad=bad, candidates=tuple(candidates)))


def _proof(regression: Regression) -> tuple[Member, Evidence]:
    """What confirmed it, and the series that did."""
    proof = next(each for each in regression.evidence if each.outcome is RegressionState.CONFIRMED)
    return next(member for member in regression.members if member.key == proof.key), proof


def _evidence(run_id: int, member: Member, proof: Evidence, outcomes: Sequence[JobOutcome]) -> Evidence:
    key, old = member.key, _build(member.old)
    new = next(each.job.build_key for each in outcomes if each.job.build_key != old)
    change = interleaved.worsening(proof.change, quantity(key.metric)).value if proof.change else 0.0
    trial = Trial(key.device, key.variant, key.scenario, old, new)
    found = evidence_of(run_id, key, trial, CLEAR_SHARE * change, outcomes)
    assert found is not None  # noqa: S101 - for the type checker: the run has the trial's jobs
    return found


def _scenario(sweep: Sweep, member: Member) -> Scenario:
    return next((each for each in sweep.spec.scenarios if str(each) == member.key.scenario), sweep.spec.scenarios[0])


def _same_place(one: Regression, other: Regression) -> bool:
    return (one.night_id, one.key.variant, one.key.scenario) == (other.night_id, other.key.variant, other.key.scenario)


def _unchanged(tx: Transaction, regression: Regression) -> bool:
    """Nobody has closed it meanwhile, nor has a night ended it."""
    return tx.regression(regression.id).state is RegressionState.CONFIRMED


def _put(tx: Transaction, regression: Regression, bisection: Bisection, now: datetime) -> Regression:
    changed = tx.regression(regression.id).model_copy(update={"bisection": bisection, "changed_at": now})
    tx.set_regression(changed)
    return changed


def _version(origin: Origin | None) -> str:
    return origin.version if origin else ""


def _build(origin: Origin | None) -> str:
    return origin.build_key if origin else ""


def _model(origin: Origin | None) -> str:
    return origin.model_id if origin else ""
