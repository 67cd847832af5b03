"""What becomes of nights, from the due time to the run, in a real store."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from farm.config import Settings
from farm.errors import ConflictError, InfrastructureError, ModelError, NotFoundError
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps import firing, sources
from farm.sweeps.nights import Nights
from farm.sweeps.plan import plan
from farm.sweeps.retries import GIVE_UP
from farm.types import Night, NightState, RunState, Schedule, UploadedModel
from tests.integration.sweeps.conftest import NOW, sweep_spec

FIRST = datetime(2026, 6, 2, 2, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def apply(store: Store, at: datetime = NOW, **changes: Any) -> None:
    with store.transaction() as tx:
        firing.apply(tx, sweep_spec(**changes), "ada", at)


def nights_of(store: Store, name: str = "nightly") -> list[Night]:
    """The oldest first."""
    with store.reading() as reading:
        return reading.nights(name)[::-1]


def turn(nights: Nights, at: datetime, until: NightState | None = NightState.RUNNING) -> None:
    """As the watch does, until the last night is in that state."""
    deadline = time.monotonic() + 20
    while True:
        nights.turn(at)
        with nights._store.reading() as reading:
            states = [night.state for night in reading.nights("nightly", 1)]
        if until is None or states == [until]:
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.01)


def end_run(store: Store, run_id: int | None, at: datetime) -> None:
    assert run_id is not None
    with store.transaction() as tx:
        tx.set_run(run_id, RunState.FINISHED, at)


def test_a_night_becomes_a_run(store: Store, nights: Nights) -> None:
    apply(store)
    turn(nights, FIRST - SECOND, until=None)
    assert nights_of(store) == []
    turn(nights, FIRST + SECOND)
    (night,) = nights_of(store)
    assert (night.due_at, night.trigger, night.requested_by) == (FIRST, "schedule", "ada")
    with store.reading() as reading:
        run = reading.run(night.run_id or 0)
        assert (run.spec.name, run.spec.priority, run.created_by) == ("nightly 2026-06-02 02:00", "nightly", "ada")
        assert (night.model_id, night.version) == (run.model_id, run.model_id)
        assert sum(run.jobs.values()) == 2
        assert reading.sweep("nightly").next_at == FIRST + DAY
        assert reading.nights_to_examine() == []
        assert reading.night_of_run(run.id) == night
    end_run(store, night.run_id, FIRST + timedelta(hours=1))
    with store.reading() as reading:
        assert reading.nights_to_examine() == [night]


def test_the_last_of_missed_nights_runs_late_and_the_others_are_on_record(store: Store, nights: Nights) -> None:
    apply(store)
    turn(nights, FIRST + 2 * DAY + timedelta(hours=5))
    found = nights_of(store)
    assert [(night.due_at, night.state, night.trigger) for night in found] == [
        (FIRST, NightState.SKIPPED, "missed"),
        (FIRST + DAY, NightState.SKIPPED, "missed"),
        (FIRST + 2 * DAY, NightState.RUNNING, "missed"),
    ]
    assert all(night.reason.startswith("missed") and night.ended_at for night in found[:2])


def test_missed_nights_are_skipped_where_the_schedule_says_so(store: Store, nights: Nights) -> None:
    apply(store, schedule=Schedule(cron="0 2 * * *", missed="skip"))
    turn(nights, FIRST + DAY + timedelta(hours=1), NightState.SKIPPED)
    assert [night.state for night in nights_of(store)] == [NightState.SKIPPED] * 2
    turn(nights, FIRST + 2 * DAY + SECOND)
    assert [night.trigger for night in nights_of(store)] == ["missed", "missed", "schedule"]


def test_a_night_waits_for_the_one_before_and_gives_way_to_the_next(store: Store, nights: Nights) -> None:
    apply(store)
    turn(nights, FIRST)
    turn(nights, FIRST + DAY, NightState.WAITING)
    first, second = nights_of(store)
    assert second.reason == f"waits for night {first.id}, which is running"
    turn(nights, FIRST + 2 * DAY, NightState.WAITING)
    first, second, third = nights_of(store)
    assert second.state is NightState.SKIPPED
    assert second.reason.startswith("gave way to the night of 2026-06-04 02:00 UTC")
    end_run(store, first.run_id, FIRST + 2 * DAY + SECOND)
    turn(nights, FIRST + 2 * DAY + SECOND)
    assert nights_of(store)[-1].id == third.id
    assert nights_of(store)[-1].started_at == FIRST + 2 * DAY + SECOND


def test_a_night_that_somebody_asked_for_does_not_give_way(store: Store, nights: Nights) -> None:
    apply(store)
    turn(nights, FIRST)
    with store.transaction() as tx:
        asked = firing.ask(tx, "nightly", "bob", FIRST + SECOND)
        with pytest.raises(ConflictError, match="bob asked for waits already"):
            firing.ask(tx, "nightly", "ada", FIRST + 2 * SECOND)
    turn(nights, FIRST + DAY, NightState.WAITING)
    turn(nights, FIRST + 2 * DAY, NightState.WAITING)
    assert [night.state for night in nights_of(store)] == [
        NightState.RUNNING,
        NightState.WAITING,
        NightState.SKIPPED,
        NightState.WAITING,
    ]
    end_run(store, nights_of(store)[0].run_id, FIRST + 2 * DAY)
    turn(nights, FIRST + 2 * DAY + SECOND, None)
    deadline = time.monotonic() + 10
    while nights_of(store)[1].state is not NightState.RUNNING:
        assert time.monotonic() < deadline
        nights.turn(FIRST + 2 * DAY + SECOND)
    assert nights_of(store)[1].id == asked.id
    assert nights_of(store)[-1].state is NightState.WAITING


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": UploadedModel(ref="nett")}, "No model 'nett'. Did you mean net?"),
        ({"devices": "platform=android"}, "No device of this farm"),
    ],
)
def test_what_cannot_be_is_a_failed_night_and_the_next_one_tries(
    store: Store, nights: Nights, changes: dict[str, Any], says: str
) -> None:
    apply(store, **changes)
    turn(nights, FIRST, NightState.FAILED)
    (night,) = nights_of(store)
    assert says in night.reason
    assert (night.run_id, night.ended_at) == (None, FIRST)
    turn(nights, FIRST + DAY, NightState.FAILED)
    assert len(nights_of(store)) == 2


def test_a_source_that_is_away_is_tried_again_for_some_hours(
    store: Store, artifacts: ArtifactStore, settings: Settings
) -> None:
    tries = []

    def away(*arguments: Any, **more: Any) -> sources.Prepared:
        tries.append(arguments)
        if len(tries) == 2:
            return sources.prepare(*arguments, **more)
        raise InfrastructureError("The server is away.", remedy="Wait.")

    nights = Nights(store, artifacts, settings, away)
    apply(store)
    turn(nights, FIRST, NightState.PREPARING)
    deadline = time.monotonic() + 10
    while not nights_of(store)[0].reason:
        assert time.monotonic() < deadline
        nights.turn(FIRST + SECOND)
    assert nights_of(store)[0].reason == "is tried again: The server is away. Wait."
    turn(nights, FIRST + timedelta(minutes=1))
    assert nights_of(store)[0].reason == ""
    end_run(store, nights_of(store)[0].run_id, FIRST + timedelta(minutes=2))
    turn(nights, FIRST + DAY, NightState.PREPARING)
    turn(nights, FIRST + DAY + GIVE_UP, NightState.FAILED)
    assert nights_of(store)[1].reason == "The server is away. Wait."


def test_a_mistake_of_ours_fails_the_night_and_nothing_else(
    store: Store, artifacts: ArtifactStore, settings: Settings
) -> None:
    def broken(*arguments: Any, **more: Any) -> sources.Prepared:
        raise ZeroDivisionError("by zero")

    apply(store)
    turn(Nights(store, artifacts, settings, broken), FIRST, NightState.FAILED)
    assert "ZeroDivisionError: by zero" in nights_of(store)[0].reason


def test_a_slow_source_makes_no_other_night_late(store: Store, artifacts: ArtifactStore, settings: Settings) -> None:
    import threading

    go_on = threading.Event()

    def slow(source: Any, *arguments: Any, name: str) -> sources.Prepared:
        if name == "slow":
            go_on.wait(20)
            raise ModelError("It took too long.", remedy="")
        return sources.prepare(source, *arguments, name=name)

    nights = Nights(store, artifacts, settings, slow)
    apply(store, name="slow")
    apply(store)
    turn(nights, FIRST)
    assert nights_of(store, "slow")[0].state is NightState.PREPARING
    go_on.set()


def test_pausing_and_resuming(store: Store, nights: Nights) -> None:
    apply(store)
    with store.transaction() as tx:
        assert firing.pause(tx, "nightly", NOW).next_at is None
        assert firing.pause(tx, "nightly", NOW).paused
    turn(nights, FIRST + DAY, None)
    assert nights_of(store) == []
    apply(store, FIRST + DAY, cron="0 3 * * *")
    with store.transaction() as tx:
        assert tx.sweep("nightly").next_at is None, "applied, and paused still"
        resumed = firing.resume(tx, "nightly", FIRST + DAY + SECOND)
        assert resumed.next_at == FIRST + DAY + timedelta(hours=1)
        assert firing.resume(tx, "nightly", FIRST + 5 * DAY) == resumed


def test_what_was_due_by_the_old_schedule_is_on_record(store: Store) -> None:
    apply(store)
    apply(store, FIRST + timedelta(hours=1), cron="0 4 * * *")
    (night,) = nights_of(store)
    assert (night.due_at, night.state) == (FIRST, NightState.WAITING)
    with store.reading() as reading:
        assert reading.sweep("nightly").next_at == FIRST + timedelta(hours=2)


def test_the_same_sweep_applied_again_changes_nothing(store: Store) -> None:
    apply(store)
    with store.reading() as reading:
        before = reading.sweep("nightly")
    apply(store, FIRST + 3 * DAY)
    with store.reading() as reading:
        assert reading.sweep("nightly") == before


def test_removal(store: Store, nights: Nights) -> None:
    apply(store)
    turn(nights, FIRST)
    with store.transaction() as tx, pytest.raises(ConflictError, match="is being measured by run"):
        firing.remove(tx, "nightly")
    end_run(store, nights_of(store)[0].run_id, FIRST)
    with store.transaction() as tx:
        firing.remove(tx, "nightly")
        assert tx.nights("nightly") == []
        with pytest.raises(NotFoundError):
            firing.remove(tx, "nightly")
        assert len(tx.runs()) == 1, "runs stay"


def test_the_plan_says_what_is_known(store: Store, nights: Nights, settings: Settings) -> None:
    spec = sweep_spec()
    with store.reading() as reading:
        first = plan(spec, reading, settings, NOW)
    assert (first.is_new, first.jobs, first.devices, first.builds_to_make) == (True, 2, ("host-a",), 2)
    assert (first.device_seconds, first.expected_seconds) == (None, None)
    assert first.why_unknown.startswith("nothing was measured yet on host-a; ")
    assert first.next_at[:2] == (FIRST, FIRST + DAY)
    apply(store)
    turn(nights, FIRST)
    run_id = nights_of(store)[0].run_id
    with store.transaction() as tx:
        for job in tx.jobs(run_id or 0):
            attempt = tx.add_attempt(job.id, 1, job.device_id, "local", FIRST)
            tx.end_attempt(attempt, "finished", FIRST + 40 * SECOND)
    with store.reading() as reading:
        again = plan(spec.model_copy(update={"devices": "platform=linux"}), reading, settings, FIRST)
        assert again.device_seconds == 80
        assert again.build_seconds is None, "not built yet"
        assert again.changes == ("devices: each → platform=linux",)
        lost = plan(spec.model_copy(update={"devices": "platform=android"}), reading, settings, FIRST)
    assert lost.jobs is None
    assert lost.warnings[0].startswith("As things are now, a night would fail: No device")


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pauses_minutes=st.lists(st.one_of(st.floats(0.1, 20), st.floats(30, 400)), min_size=1, max_size=8),
    killed=st.sets(st.integers(0, 30)),
    number=st.integers(0, 10**9),
)
def test_killed_anywhere_no_due_time_is_lost_or_doubled(
    store: Store, pauses_minutes: list[float], killed: set[int], number: int
) -> None:
    """Killed before the commit, nothing of a transaction stays; killed after it, all of it does."""
    name = f"sweep-{number}-{time.monotonic_ns()}"
    now = NOW
    with store.transaction() as tx:
        firing.apply(tx, sweep_spec(name, cron="*/30 * * * *"), "ada", now)
    looks = 0
    for pause in pauses_minutes:
        now += timedelta(minutes=pause)
        more = True
        while more:
            looks += 1
            try:
                with store.transaction() as tx:
                    more = firing.fire(tx, tx.sweep(name), now)
                    if looks in killed:
                        raise KeyboardInterrupt
            except KeyboardInterrupt:
                more = True
    found = [night.due_at for night in nights_of(store, name)]
    with store.reading() as reading:
        next_at = reading.sweep(name).next_at
    expected = [NOW + timedelta(minutes=30 * count) for count in range(1, 200)]
    assert found == [at for at in expected if at <= now]
    assert next_at == next(at for at in expected if at > now)
