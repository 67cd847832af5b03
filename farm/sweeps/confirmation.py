"""The duty that measures suspects once more, by themselves, before anyone is told.

One run for a night, in which jobs of the old and of the new artifact take turns on each device; all artifacts are
there already, and a device starts the jobs of a run in the order of their numbers (``farm.coordinator.queue``). It is
no night: no series and no baseline holds what it measures. That a run was submitted, and what it says, are each written
in one transaction with the regressions.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from farm.config import Settings
from farm.coordinator.nudge import Nudge
from farm.planning.selection import out_of_service
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.reading import Reading
from farm.store.transaction import NewJob, Transaction
from farm.sweeps.retries import GIVE_UP
from farm.sweeps.telling import tell_of_findings
from farm.sweeps.trial import Plan, concluded, evidence_of, planned, trial_of
from farm.sweeps.turns import in_turns, job_of, run_of
from farm.types import (
    Build,
    BuildState,
    Evidence,
    JobOutcome,
    Night,
    Regression,
    RegressionState,
    Run,
    RunState,
    Scenario,
)

log = logging.getLogger(__name__)


class Confirmation:
    def __init__(self, store: Store, artifacts: ArtifactStore, settings: Settings) -> None:
        self._store, self._artifacts, self._settings = store, artifacts, settings
        self._nudge = Nudge(settings.state_dir)

    def turn(self, now: datetime) -> bool:
        return self._conclude(now) or self._start(now)

    # --- begin ----------------------------------------------------------------------------------------

    def _start(self, now: datetime) -> bool:
        with self._store.reading() as reading:
            waiting = reading.regressions(states=[RegressionState.SUSPECTED], limit=None)
            if not waiting:
                return False
            night = reading.night(min(each.night_id for each in waiting))
            suspects = [each for each in waiting if each.night_id == night.id]
            spec = reading.sweep(night.sweep).spec
            plan = planned(suspects, self._gone(reading, suspects), _away(reading, suspects))
            scenarios = {str(scenario): scenario for scenario in spec.scenarios}
            jobs = list(_jobs(reading, plan, scenarios))
        with self._store.transaction() as tx:
            self._submit(tx, night, suspects, plan, jobs, now)
        self._nudge.send()
        return True

    def _submit(
        self,
        tx: Transaction,
        night: Night,
        suspects: Sequence[Regression],
        plan: Plan,
        jobs: Sequence[NewJob],
        now: datetime,
    ) -> None:
        sweep = tx.sweep(night.sweep)
        states = {each.id: tx.regression(each.id).state for each in suspects}
        still = [each for each in suspects if states[each.id] is RegressionState.SUSPECTED]  # nobody has closed it
        run_id = None
        if jobs and still and night.model_id is not None:
            model = tx.model(night.model_id)
            name = f"{night.sweep} {night.due_at:%Y-%m-%d %H:%M}: suspects once more"
            spec = run_of(sweep.spec, model, jobs, name)
            run_id = tx.add_run(spec, model, jobs, {}, night.requested_by, now).id
        for regression in still:
            state, reason = plan.refused.get(regression.id, (RegressionState.CONFIRMING, regression.reason))
            if state is RegressionState.CONFIRMING and run_id is None:
                state, reason = RegressionState.UNCONFIRMED, "its jobs or models are not there any longer"
            changed = regression.model_copy(update={"state": state, "reason": reason, "changed_at": now})
            tx.set_regression(changed, run_id if state is RegressionState.CONFIRMING else None)
        if run_id is None:
            tell_of_findings(tx, sweep, night, self._settings, now)
        else:
            log.info("Suspects of night %d of %s are measured once more by run %d", night.id, night.sweep, run_id)

    def _gone(self, reading: Reading, suspects: Iterable[Regression]) -> dict[str, str]:
        """Builds that cannot be measured any longer, and why."""
        trials = [trial for each in suspects for member in each.members if (trial := trial_of(member))]
        keys = {key for trial in trials for key in (trial.old_build, trial.new_build)}
        builds = {build.key: build for build in reading.builds(sorted(keys))}
        found = {}
        for key in sorted(keys):
            build = builds.get(key)
            if why := self._unusable(build):
                found[key] = f"artifact {key[:12]} cannot be measured once more: {why}"
        return found

    def _unusable(self, build: Build | None) -> str:
        if build is None or build.state is not BuildState.BUILT or build.artifact is None:
            return "it is not there" if build is None else f"its build is {build.state}"
        lost = [file.name for file in build.artifact.files if not self._artifacts.exists(file.sha256)]
        return f"{lost[0]} is gone from the artifact store" if lost else ""

    # --- end ------------------------------------------------------------------------------------------

    def _conclude(self, now: datetime) -> bool:
        with self._store.reading() as reading:
            runs = reading.confirming_runs()
        for run_id, run in runs:
            if run is None or run.state is not RunState.ACTIVE:
                self._judge(run_id, run, now)
                return True
            if now - run.created_at > GIVE_UP:  # its devices are away: what it has by then decides
                with self._store.transaction() as tx:
                    if tx.run(run_id).state is RunState.ACTIVE:
                        tx.request_cancel(run_id, now)
                self._nudge.send()
        return False

    def _judge(self, run_id: int, run: Run | None, now: datetime) -> None:
        with self._store.transaction() as tx:
            measured = tx.regressions_measured_by(run_id)
            outcomes = tx.outcomes(run_id) if run else []
            for regression in measured:
                evidence = tuple(_evidence(run_id, regression, outcomes))
                state, reason = concluded(evidence)
                if run is None:
                    reason = f"run {run_id}, which measured it once more, was deleted"
                elif not evidence:
                    reason = f"run {run_id}, which was to measure it once more, was {run.state}"
                changed = {"state": state, "reason": reason, "evidence": evidence, "changed_at": now}
                tx.set_regression(regression.model_copy(update=changed))
            for night_id in sorted({regression.night_id for regression in measured}):
                night = tx.night(night_id)
                tell_of_findings(tx, tx.sweep(night.sweep), night, self._settings, now)


def _evidence(run_id: int, regression: Regression, outcomes: Sequence[JobOutcome]) -> Iterable[Evidence]:
    for member in regression.members:
        trial = trial_of(member)
        if trial is None or trial.old_build == trial.new_build or member.limit is None:
            continue
        if found := evidence_of(run_id, member.key, trial, member.limit, outcomes):
            yield found


def _jobs(reading: Reading, plan: Plan, scenarios: Mapping[str, Scenario]) -> Iterable[NewJob]:
    """Device by device, trial by trial, old and new in turns."""
    for trial, (pairs, member) in sorted(plan.trials.items(), key=lambda item: (item[0].device, item[0].variant)):
        scenario = scenarios.get(trial.scenario)
        if member.old is None or member.new is None or scenario is None:
            continue
        old = job_of(reading, trial.old_build, member.old.model_id, trial.device, scenario)
        new = job_of(reading, trial.new_build, member.new.model_id, trial.device, scenario)
        yield from in_turns(old, new, pairs)


def _away(reading: Reading, suspects: Iterable[Regression]) -> set[str]:
    names = {device for each in suspects for device in each.affected}
    return {device.id for device in reading.devices_named(names) if out_of_service(device)}
