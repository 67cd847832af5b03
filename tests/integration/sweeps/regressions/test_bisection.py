"""The version that a regression came with, searched for step by step; each step by a process that is new."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from farm.config import Settings
from farm.errors import InfrastructureError, ModelError
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps import sources
from farm.sweeps.bisection import Bisector
from farm.sweeps.retries import GIVE_UP
from farm.sweeps.search import begun_again
from farm.types import JobState, ModelSource, Regression, RegressionState, RunState
from tests.integration.sweeps.regressions.story import FIRST, Story
from tests.integration.sweeps.regressions.test_workflow import only
from tests.values import blob, model_spec

VERSIONS = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8")
ORDER = {version: number for number, version in enumerate(("v1", *VERSIONS))}


class Commits:
    """A source with an order, some of whose versions do not export. ``unreachable``: bad versions that it is asked for
    in vain."""

    def __init__(self, broken: frozenset[str] = frozenset(), unreachable: frozenset[str] = frozenset()) -> None:
        self.broken, self.unreachable = broken, unreachable
        self.prepared: list[str] = []

    def versions_between(self, source: ModelSource, good: str, bad: str, settings: Settings) -> tuple[str, ...]:
        if bad in self.unreachable:
            raise InfrastructureError("git.example cannot be reached.", remedy="Check the network.")
        return VERSIONS[ORDER[good] : ORDER[bad]]

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
    ) -> sources.Prepared:
        assert version is not None
        self.prepared.append(version)
        if version in self.broken:
            raise ModelError(f"{version} does not export.", remedy="Mend it.")
        with store.transaction() as tx:
            return sources.Prepared(tx.add_model(model_spec("net", program=blob(f"{version}.pt2")), by, FIRST), version)


def confirmed(story: Callable[..., Story], first_bad: str, worse_later: str = "", **changes: object) -> Story:
    """``worse_later``: a variant that is worse with the last version, which no night has measured yet."""

    def factor(version: str, variant: str, device: str) -> float:
        if variant == worse_later and version == VERSIONS[-1]:
            return 1.1
        return 1.1 if variant == "int8" and ORDER[version] >= ORDER[first_bad] else 1.0

    told = story(factor=factor, **changes)
    told.quiet_nights(8)
    told.pass_night("c7")
    told.examine()
    told.confirm()
    assert only(told.regressions()).state is RegressionState.CONFIRMED
    return told


def searched(told: Story, commits: Commits) -> Regression:
    """Every turn that leads to something is another process's; what runs is measured meanwhile."""
    deadline = time.monotonic() + 60
    while not ((found := only(told.regressions())).bisection and found.bisection.over):
        assert time.monotonic() < deadline, found.bisection
        bisector = Bisector(told.store, told.artifacts, told.settings, commits)
        while not bisector.turn(told.now) and bisector.busy:
            time.sleep(0.01)
        with told.store.transaction() as tx:
            for run in tx.runs(limit=3):
                if run.state is RunState.ACTIVE and run.spec.name.endswith("bisection"):
                    told.measure(tx, run.id, told.now)
    return found


@pytest.mark.parametrize("first_bad", ["c1", "c4", "c7"])
def test_the_first_bad_version_is_found(story: Callable[..., Story], first_bad: str) -> None:
    told, commits = confirmed(story, first_bad), Commits()
    found = searched(told, commits)
    bisection = found.bisection
    assert bisection is not None
    assert bisection.culprit == first_bad, bisection
    assert len(bisection.steps) <= 3
    for step in bisection.steps:
        assert step.change is not None
        with told.store.reading() as reading:
            assert step.run_id is not None
            jobs = reading.jobs(step.run_id)
            models = [reading.model(job.model_id or reading.run(job.run_id).model_id) for job in jobs]
        assert {job.state for job in jobs} == {JobState.FINISHED}
        names = [model.spec.program.name.removesuffix(".pt2") for model in models]
        assert names[:4] == ["v1", step.version, step.version, "v1"]
        assert step.worse == (ORDER[step.version] >= ORDER[first_bad])
    last = told.notices()[-1]
    assert first_bad in last.text


def test_versions_that_do_not_export_are_passed_over(story: Callable[..., Story]) -> None:
    told = confirmed(story, "c4")
    found = searched(told, Commits(frozenset({"c4", "c3"})))
    bisection = found.bisection
    assert bisection is not None
    assert bisection.culprit is None
    assert "c3, c4, c5" in bisection.reason
    skipped = [step for step in bisection.steps if step.worse is None]
    assert {step.version for step in skipped} == {"c3", "c4"}
    assert all("does not export" in step.reason for step in skipped)


def test_a_source_without_order_is_said_to_be(story: Callable[..., Story]) -> None:
    told = confirmed(story, "c4")
    bisector = Bisector(told.store, told.artifacts, told.settings)  # the sweep's model is an uploaded one
    while not bisector.turn(told.now) and bisector.busy:
        time.sleep(0.01)
    bisection = only(told.regressions()).bisection
    assert bisection is not None
    assert bisection.culprit is None
    assert "knows no versions" in bisection.reason


def asked(bisector: Bisector, now: datetime) -> None:
    """One source, and its answer taken."""
    while not bisector.turn(now) and bisector.busy:
        time.sleep(0.01)


def rested(told: Story, bisector: Bisector) -> None:
    """It asks once more, in the first pause's second or two."""
    deadline = time.monotonic() + 10
    while not bisector.busy:
        assert time.monotonic() < deadline
        bisector.turn(told.now)
        time.sleep(0.01)


def test_a_source_that_cannot_be_reached_is_asked_again_and_then_given_up(story: Callable[..., Story]) -> None:
    told, commits = confirmed(story, "c4"), Commits(unreachable=frozenset({"c7"}))
    bisector = Bisector(told.store, told.artifacts, told.settings, commits)
    asked(bisector, told.now)
    assert only(told.regressions()).bisection is None, "another try may mend it"
    assert not bisector.turn(told.now), "it rests"
    assert not bisector.busy
    rested(told, bisector)
    asked(bisector, told.now + GIVE_UP)
    bisection = only(told.regressions()).bisection
    assert bisection is not None
    assert bisection.culprit is None
    assert bisection.reason.startswith("its source has failed for hours: git.example cannot be reached.")


def test_a_source_that_is_back_finds_the_version(story: Callable[..., Story]) -> None:
    told, commits = confirmed(story, "c4"), Commits(unreachable=frozenset({"c7"}))
    asked(Bisector(told.store, told.artifacts, told.settings, commits), told.now)
    commits.unreachable = frozenset()
    bisection = searched(told, commits).bisection
    assert bisection is not None
    assert bisection.culprit == "c4"


def test_a_source_that_cannot_be_reached_holds_up_no_other_search(story: Callable[..., Story]) -> None:
    told, commits = confirmed(story, "c4", worse_later="fp32"), Commits(unreachable=frozenset({"c7"}))
    told.pass_night("c8")
    told.examine()
    told.confirm()
    first, second = sorted(told.regressions(), key=lambda each: each.id)
    assert second.state is RegressionState.CONFIRMED
    bisector = Bisector(told.store, told.artifacts, told.settings, commits)
    asked(bisector, told.now)
    asked(bisector, told.now)
    with told.store.reading() as reading:
        assert reading.regression(first.id).bisection is None
        begun = reading.regression(second.id).bisection
    assert begun is not None
    assert begun.culprit == "c8", "nothing lies between"


def test_a_device_that_is_away_ends_the_search(story: Callable[..., Story]) -> None:
    told, commits = confirmed(story, "c4"), Commits()
    bisector = Bisector(told.store, told.artifacts, told.settings, commits)
    while (found := only(told.regressions()).bisection) is None or found.run_id is None:
        asked(bisector, told.now)
    assert not bisector.turn(told.now + GIVE_UP), "it may come back"
    assert bisector.turn(told.now + GIVE_UP + timedelta(minutes=1))
    bisection = only(told.regressions()).bisection
    assert bisection is not None
    assert bisection.over
    assert bisection.reason.endswith(f"has not measured run {found.run_id} for hours")
    with told.store.transaction() as tx:
        assert found.run_id in tx.cancel_requests()
        tx.set_regression(begun_again(only(told.regressions()), told.now))
    again = searched(told, commits).bisection
    assert again is not None
    assert again.culprit == "c4", "it is back, and the search is begun again"
