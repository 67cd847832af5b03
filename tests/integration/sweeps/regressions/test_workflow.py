"""From a night's results to what people are told: in a real store, with results of an invented fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from farm.store.transaction import JobChange
from farm.sweeps.confirmation import Confirmation
from farm.sweeps.examination import Examination
from farm.sweeps.retries import GIVE_UP
from farm.types import JobState, NightState, Regression, RegressionState, RunState
from tests.integration.sweeps.regressions.story import ONE_DAY, Story

Stories = Callable[..., Story]


def slower(by: float, variant: str = "int8", *devices: str) -> Callable[[str, str, str], float]:
    """From version v2 on, on these devices (none named: on all)."""
    return lambda version, name, device: (
        by if version != "v1" and name == variant and (not devices or device in devices) else 1.0
    )


def only(found: list[Regression]) -> Regression:
    assert len(found) == 1, [(each.state, str(each.key), each.reason) for each in found]
    return found[0]


def test_a_slow_version_is_found_measured_once_more_and_told_once(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    assert told.regressions() == []
    night = told.pass_night("v2")
    told.examine()
    suspect = only(told.regressions())
    assert (suspect.state, suspect.night_id, suspect.scope) == (RegressionState.SUSPECTED, night, "variant")
    assert told.notices() == [], "nobody is alerted before it is measured once more"

    jobs = told.confirm()
    found = only(told.regressions())
    assert found.state is RegressionState.CONFIRMED, found.reason
    assert set(found.affected) == set(told.devices)
    assert found.since is not None
    assert found.since.date() == (told.now - ONE_DAY).date()
    for evidence in found.evidence:
        assert evidence.change is not None
        assert evidence.change.low < 1.1 < evidence.change.high
    on_one = [job for job in jobs if job.device_id == jobs[0].device_id]
    sides = "".join("o" if job.build_key == on_one[0].build_key else "n" for job in on_one)
    assert sides.startswith("onno"), sides
    assert all(job.in_turns for job in on_one)
    with told.store.reading() as reading:
        assert reading.outcomes(on_one[0].run_id)[0].result is not None
        assert reading.points_of_run(on_one[0].run_id) == [], "evidence is no part of the history"
        pushed = reading.measured_between(told.now - 30 * ONE_DAY, told.now + ONE_DAY)
        assert {each.job.run_id for each in pushed}.isdisjoint({on_one[0].run_id}), "nor is it pushed"
    notice = only(told.notices())  # type: ignore[arg-type]
    assert notice.channel == "team"
    assert "virtual" in notice.subject

    told.pass_night("v2")
    told.examine()
    assert told.confirm() == [], "it goes on: nothing is measured, and nobody is told again"
    assert only(told.regressions(RegressionState.CONFIRMED)).seen_night_id == night + 1
    assert len(told.notices()) == 1


def test_it_ends_with_the_night_that_is_as_good_as_before(story: Stories) -> None:
    told = story(factor=lambda version, variant, device: 1.1 if version == "v2" else 1.0)
    told.quiet_nights(8)
    for version in ("v2", "v2", "v3"):
        night = told.pass_night(version)
        told.examine()
        told.confirm()
    ended = only(told.regressions(RegressionState.ENDED))
    assert ended.ended_night_id == night
    assert told.regressions(RegressionState.CONFIRMED) == []
    assert len(told.notices()) == 1


def test_confirmation_runs_are_no_nights(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    told.confirm()
    with told.store.reading() as reading:
        points = reading.night_points("nightly", nights=100)
        nights = reading.nights("nightly")
    assert len(points) == len(nights) * len(told.devices) * len(told.variants)


def test_only_what_is_there_survives_a_second_look(story: Stories) -> None:
    """The night was slow for another reason: in turns with the old artifact the new one is as fast."""
    told = story(factor=slower(1.1, "int8", "phone-02"))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    told.factor = lambda version, variant, device: 1.0
    told.confirm()
    refuted = only(told.regressions())
    assert refuted.state is RegressionState.REFUTED
    assert "ruled out" in refuted.reason
    assert told.notices() == []


def test_a_drop_of_accuracy_takes_two_pairs(story: Stories) -> None:
    told = story(lost=lambda version, variant, device: 0.03 if version == "v2" else 0.0)
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    told.confirm()
    found = only(told.regressions())
    assert (found.state, found.key.metric) == (RegressionState.CONFIRMED, "accuracy")
    assert {len(evidence.pairs) for evidence in found.evidence} == {2}
    change = found.evidence[0].change
    assert change is not None
    assert change.value == pytest.approx(-0.03)


def test_a_missing_result_says_why_and_ends_when_it_is_back(story: Stories) -> None:
    told = story(silent=lambda night, variant, device: night in (8, 9) and (variant, device) == ("int8", "phone-04"))
    told.quiet_nights(8)
    for _ in range(2):
        told.pass_night("v1")
        told.examine()
        told.confirm()
    missing = only(told.regressions())
    assert (missing.kind, missing.state, missing.affected) == ("missing", RegressionState.CONFIRMED, ("phone-04",))
    assert missing.reason == "the phone did not answer"
    assert len(told.notices()) == 1
    told.quiet_nights(1)
    assert only(told.regressions()).state is RegressionState.ENDED


def test_a_night_that_came_to_nothing_is_told_of_once(story: Stories) -> None:
    told = story()
    with told.store.transaction() as tx:
        for number in range(2):
            night = tx.add_night("nightly", told.now + timedelta(hours=number), "schedule", "ada")
            assert night is not None
            tx.set_night(
                night.id,
                [NightState.WAITING],
                state=NightState.FAILED,
                reason="the export command failed",
                ended_at=told.now,
            )
    told.examine()
    told.examine()
    notice = only(told.notices())  # type: ignore[arg-type]
    assert (notice.kind, notice.channel) == ("night", "team")
    assert "the export command failed" in notice.text


def test_an_artifact_that_is_gone_is_said_to_be(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    old = only(told.regressions()).worst.old
    assert old is not None
    with told.store.reading() as reading:
        artifact = reading.build(old.build_key).artifact
    assert artifact is not None
    assert told.artifacts.discard(artifact.files[0].sha256, min_age_seconds=-1)
    assert told.confirm() == []
    found = only(told.regressions())
    assert found.state is RegressionState.UNCONFIRMED
    assert "gone from the artifact store" in found.reason
    assert told.notices() == []


def test_what_could_not_be_told_is_tried_again_the_next_night(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    confirmation = Confirmation(told.store, told.artifacts, told.settings)
    assert confirmation.turn(told.now)
    with told.store.transaction() as tx:
        ((run_id, _),) = tx.confirming_runs()
        tx.set_jobs([JobChange(job.id, JobState.FAILED, "the phone fell") for job in tx.jobs(run_id)])
        tx.set_run(run_id, RunState.FINISHED, told.now)
    assert confirmation.turn(told.now)
    first = only(told.regressions())
    assert (first.state, "the phone fell" in first.reason) == (RegressionState.UNCONFIRMED, True)

    told.pass_night("v2")
    told.examine()
    told.confirm()
    second = only(told.regressions())
    assert (second.id, second.state) == (first.id, RegressionState.CONFIRMED)
    assert second.created_at == first.created_at


def test_a_run_whose_devices_stay_away_is_given_up(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    confirmation = Confirmation(told.store, told.artifacts, told.settings)
    confirmation.turn(told.now)
    assert not confirmation.turn(told.now + GIVE_UP + timedelta(minutes=1))
    with told.store.transaction() as tx:
        ((run_id, _),) = tx.confirming_runs()
        assert tx.cancel_requests() == [run_id]
        tx.set_run(run_id, RunState.CANCELLED, told.now)
    assert confirmation.turn(told.now)
    assert only(told.regressions()).state is RegressionState.UNCONFIRMED


def test_what_a_person_closed_stays_closed(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    Confirmation(told.store, told.artifacts, told.settings).turn(told.now)
    with told.store.transaction() as tx:
        closed = tx.close_regression(only(told.regressions()).id, "closed by ada: known", told.now)
        ((run_id),) = [run.id for run in tx.runs(limit=1)]
        told.measure(tx, run_id, told.now)
    Confirmation(told.store, told.artifacts, told.settings).turn(told.now)
    assert only(told.regressions()) == closed
    told.quiet_nights(2, "v2")
    assert only(told.regressions()).state is RegressionState.CLOSED, "nor do later nights find it anew"
    assert told.notices() == []
    told.quiet_nights(1, "v1")
    assert only(told.regressions()).ended_night_id is not None

    told.quiet_nights(2, "v2")
    assert [each.state for each in told.regressions()] == [RegressionState.CLOSED, RegressionState.CONFIRMED]


def test_no_night_is_examined_twice(story: Stories) -> None:
    told = story(factor=slower(1.1))
    told.quiet_nights(8)
    told.pass_night("v2")
    told.examine()
    before = told.regressions()
    assert not Examination(told.store, told.settings).turn(told.now)
    assert told.regressions() == before


@pytest.mark.slow
def test_two_thousand_series_take_seconds(story: Stories) -> None:
    variants = [f"variant-{number:02d}" for number in range(20)]
    told = story(
        devices=[f"phone-{number:03d}" for number in range(100)],
        variants=variants,
        factor=slower(1.1, "variant-07", "phone-042"),
    )
    for _ in range(8):
        told.pass_night("v1")
    with told.store.transaction() as tx:
        for night in tx.nights("nightly"):
            tx.set_night(night.id, [NightState.RUNNING], state=NightState.EXAMINED)
    told.pass_night("v2")
    began = time.monotonic()
    told.examine()
    assert time.monotonic() - began < 20
    assert only(told.regressions()).affected == ("phone-042",)
