"""Regressions in the store: on SQLite and, where there is one, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest

from farm.errors import ConflictError, NotFoundError
from farm.store.database import Store
from farm.types import (
    BuildState,
    Member,
    NightState,
    Regression,
    RegressionState,
    RunState,
    SeriesKey,
    SweepSpec,
    UploadedModel,
)
from tests.values import NOW, artifact, device, model_spec, recipe, run_spec, sha256


def sweep(store: Store, name: str, notify: tuple[str, ...] = ()) -> None:
    spec = SweepSpec(
        name=name, model=UploadedModel(ref="net"), recipes=(recipe("int8"),), devices="each", notify=notify
    )
    with store.transaction() as tx:
        tx.put_sweep(spec, "ada", NOW, None, paused=False)


def night(store: Store, name: str, day: int, **values: object) -> int:
    at = NOW + timedelta(days=day)
    with store.transaction() as tx:
        added = tx.add_night(name, at, "schedule", "ada")
        assert added is not None
        tx.set_night(added.id, [NightState.WAITING], **{"state": NightState.RUNNING, "started_at": at} | values)
    return added.id


def run(store: Store) -> int:
    with store.transaction() as tx:
        model = tx.add_model(model_spec(), "ada", NOW)
        return tx.add_run(run_spec(), model, [], {}, "ada", NOW).id


def found(sweep: str, night_id: int, device: str = "phone-1", variant: str = "int8") -> Regression:
    key = SeriesKey(sweep=sweep, variant=variant, device=device, scenario="single-stream/1t", metric="latency_p50")
    return Regression(
        id=0,
        key=key,
        night_id=night_id,
        seen_night_id=night_id,
        state=RegressionState.SUSPECTED,
        members=(Member(key=key),),
        created_at=NOW,
        changed_at=NOW,
    )


def test_they_are_listed_the_newest_first_by_what_is_asked(store: Store) -> None:
    sweep(store, "nightly")
    sweep(store, "weekly")
    first, other = night(store, "nightly", 0), night(store, "weekly", 0)
    with store.transaction() as tx:
        a = tx.add_regression(found("nightly", first))
        b = tx.add_regression(found("nightly", first, "phone-2", "fp32"))
        c = tx.add_regression(found("weekly", other))
        tx.set_regression(b.model_copy(update={"state": RegressionState.REFUTED}))
    with store.reading() as reading:
        assert [each.id for each in reading.regressions()] == [c.id, b.id, a.id]
        assert [each.id for each in reading.regressions(limit=1, before=c.id)] == [b.id]
        assert reading.regressions(sweep="nightly", states=[RegressionState.SUSPECTED]) == [a]
        assert [each.id for each in reading.regressions(device="phone-2")] == [b.id]
        assert [each.id for each in reading.regressions(variant="fp32")] == [b.id]
        assert [each.id for each in reading.regressions(night_id=other)] == [c.id]
        assert reading.regression(a.id) == a
        with pytest.raises(NotFoundError, match="No regression 99"):
            reading.regression(99)


def test_what_is_over_is_not_closed_again(store: Store) -> None:
    sweep(store, "nightly")
    first = night(store, "nightly", 0)
    with store.transaction() as tx:
        id = tx.add_regression(found("nightly", first)).id
        assert tx.close_regression(id, "known", NOW).state is RegressionState.CLOSED
        with pytest.raises(ConflictError, match="closed already"):
            tx.close_regression(id, "known", NOW)


def test_runs_that_measure_once_more_are_known_until_they_are_judged(store: Store) -> None:
    sweep(store, "nightly")
    first, deleted, going = night(store, "nightly", 0), 999, run(store)
    with store.transaction() as tx:
        for run_id in (deleted, going):
            one = tx.add_regression(found("nightly", first))
            tx.set_regression(one.model_copy(update={"state": RegressionState.CONFIRMING}), run_id)
    with store.transaction() as tx:
        (a, active), (b, gone) = tx.confirming_runs()
        assert (a, active and active.state, b, gone) == (going, RunState.ACTIVE, deleted, None)
        (one,) = tx.regressions_measured_by(going)
        tx.set_regression(one.model_copy(update={"state": RegressionState.CONFIRMED}))
        assert tx.regressions_measured_by(going) == []
        assert [run_id for run_id, _ in tx.confirming_runs()] == [deleted]


def test_nights_until_one_are_those_with_a_run(store: Store) -> None:
    sweep(store, "nightly")
    ids = [night(store, "nightly", day, run_id=run(store)) for day in range(4)]
    night(store, "nightly", 5, state=NightState.SKIPPED)
    with store.reading() as reading:
        last = reading.night(ids[2])
        assert [each.id for each in reading.nights_until(last, 2)] == ids[1:3]
        assert [each.id for each in reading.nights_until(last, 10)] == ids[:3]


def test_nights_that_came_to_nothing_are_told_of_until_they_were(store: Store) -> None:
    sweep(store, "nightly", notify=("team",))
    sweep(store, "silent")
    failed = {"state": NightState.FAILED}
    old = night(store, "nightly", -3, **failed, ended_at=NOW - timedelta(days=3))
    first = night(store, "nightly", 0, **failed, ended_at=NOW)
    second = night(store, "nightly", 1, state=NightState.SKIPPED, ended_at=NOW + timedelta(hours=1))
    night(store, "silent", 0, **failed, ended_at=NOW)
    with store.transaction() as tx:
        assert [each.id for each in tx.nights_untold(NOW - timedelta(days=1))] == [first, second]
        assert [each.id for each in tx.nights_untold(NOW - timedelta(days=9))] == [old, first, second]
        tx.add_notice("team", "night", f"night {second}", "", "", {}, NOW)
        assert tx.nights_untold(NOW - timedelta(days=9)) == []
    later = night(store, "nightly", 2, **failed, ended_at=NOW + timedelta(hours=2))
    with store.reading() as reading:
        assert [each.id for each in reading.nights_untold(NOW)] == [later]


def test_the_build_of_reference_outputs_is_found(store: Store) -> None:
    reference, key = recipe("reference", "pytorch"), sha256("reference")
    with store.transaction() as tx:
        tx.upsert_device(device(), NOW)
        model = tx.add_model(model_spec(), "ada", NOW)
        tx.add_run(run_spec(), model, [], {key: reference, sha256("other"): recipe("int8")}, "ada", NOW)
        assert tx.built_reference(model.id, reference.digest) is None
        for each in (key, sha256("other")):
            tx.set_build(each, BuildState.BUILT, artifact(each))
        assert tx.built_reference(model.id, reference.digest) == key
