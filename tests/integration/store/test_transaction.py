"""Every query, on every database."""

from __future__ import annotations

import math
import uuid
from datetime import timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farm.errors import ConflictError, NotFoundError, UserError
from farm.store import tables
from farm.store.database import Store
from farm.store.devices import DeviceChange
from farm.store.transaction import JobChange, NewJob, Transaction
from farm.types import (
    BuildState,
    DeviceHealth,
    DeviceState,
    Failure,
    JobState,
    Model,
    Parity,
    Role,
    Run,
    RunState,
    Scenario,
)
from tests.values import NOW, artifact, blob, device, model_spec, recipe, result, run_spec, sha256

LATER = NOW + timedelta(seconds=5)
PYTORCH, ONNX, REFERENCE = recipe("pytorch"), recipe("onnxruntime"), recipe("reference")
KEYS = {recipe.name: sha256(recipe.name) for recipe in (PYTORCH, ONNX, REFERENCE)}
FAILURE = Failure(fault="recipe", code="build-failed", message="No.", remedy="Try.", log_tail="\0 binary")


def submit(transaction: Transaction, *, devices: tuple[str, ...] = ("host-a",), **changes: object) -> Run:
    for id in devices:
        transaction.upsert_device(device(id), NOW)
    model = transaction.add_model(model_spec(), "ada", NOW)
    jobs = [
        NewJob(each, KEYS[each.name], KEYS["reference"], id, Scenario(threads=2), "a reason")
        for id in devices
        for each in (PYTORCH, ONNX)
    ]
    builds = {KEYS[each.name]: each for each in (PYTORCH, ONNX, REFERENCE)}
    return transaction.add_run(run_spec(**changes), model, jobs, builds, "ada", NOW)


def set_device(transaction: Transaction, id: str, state: DeviceState, **changes: Any) -> None:
    transaction.set_devices([DeviceChange(id, state, **{"health": DeviceHealth.GOOD} | changes)])


class TestTokens:
    def test_a_token_is_found_by_its_hash_until_revoked(self, store: Store) -> None:
        with store.transaction() as t:
            t.add_token("ci", Role.USER, sha256("secret"), NOW)
        with store.transaction() as t:
            assert t.token(sha256("secret")) == ("ci", Role.USER)
            assert t.token(sha256("guess")) is None
            assert t.tokens() == [("ci", Role.USER)]
            t.revoke_token("ci")
        with store.reading() as r:
            assert r.token(sha256("secret")) is None

    def test_a_name_is_taken_once(self, store: Store) -> None:
        with store.transaction() as t:
            t.add_token("ci", Role.USER, sha256("1"), NOW)
            with pytest.raises(ConflictError):
                t.add_token("ci", Role.ADMIN, sha256("2"), NOW)
            assert t.token(sha256("2")) is None
            with pytest.raises(NotFoundError):
                t.revoke_token("other")


class TestModels:
    def test_uploading_twice_is_one_model(self, store: Store) -> None:
        with store.transaction() as t:
            first = t.add_model(model_spec(), "ada", NOW)
            assert t.add_model(model_spec(), "bob", LATER) == first
            assert first == Model(id=model_spec().id, spec=model_spec(), created_by="ada", created_at=NOW)
            assert t.models() == [first]

    def test_by_id_prefix_and_name(self, store: Store) -> None:
        with store.transaction() as t:
            model = t.add_model(model_spec(), "ada", NOW)
            assert t.model(model.id) == t.model(model.id[:8]) == t.model("net") == model
            for ref in ("", "nett", model.id[:3], model.id[:8].upper(), "%", "a\0b", "ab/../cd", "é", "x" * 500):
                with pytest.raises(NotFoundError):
                    t.model(ref)
            with pytest.raises(NotFoundError, match="Did you mean net"):
                t.model("nett")

    def test_a_name_means_what_was_uploaded_last(self, store: Store) -> None:
        with store.transaction() as t:
            old = t.add_model(model_spec(), "ada", NOW)
            new = t.add_model(model_spec(program=blob("model.pt2", "v2")), "ada", NOW + timedelta(seconds=1))
            assert t.model("net") == new
            assert t.models() == [new, old]
            assert t.models(limit=1) == [new]
            t.add_model(model_spec(), "ada", NOW + timedelta(seconds=2))
            assert t.model("net") == old

    def test_an_ambiguous_prefix(self, store: Store) -> None:
        with store.transaction() as t:
            found: dict[str, str] = {}
            for number in range(3000):
                spec = model_spec(f"m{number}")
                if found.setdefault(spec.id[:4], spec.name) != spec.name:
                    t.add_model(model_spec(found[spec.id[:4]]), "ada", NOW)
                    t.add_model(spec, "ada", NOW)
                    break
            with pytest.raises(UserError, match="Several models"):
                t.model(spec.id[:4])


class TestRuns:
    def test_a_submission_is_all_there(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t, name="nightly")
        with store.reading() as r:
            assert r.run(run.id) == run
            assert run.state is RunState.ACTIVE
            assert run.spec == run_spec(name="nightly")
            assert (run.model_id, run.model_name, run.created_by) == (model_spec().id, "net", "ada")
            assert run.created_at == NOW
            assert run.jobs == {JobState.WAITING: 2}
            jobs = r.jobs(run.id)
            assert [job.recipe for job in jobs] == [PYTORCH, ONNX]
            assert {job.state for job in jobs} == {JobState.WAITING}
            assert jobs[0].scenario == Scenario(threads=2)
            assert (jobs[0].build_key, jobs[0].reference_key) == (KEYS["pytorch"], KEYS["reference"])
            assert (jobs[0].epoch, jobs[0].reason) == (0, "a reason")
            assert r.job(jobs[1].id) == jobs[1]
            builds = r.builds(list(KEYS.values()))
            assert {build.key: build.recipe for build in builds} == {
                KEYS[each.name]: each for each in (PYTORCH, ONNX, REFERENCE)
            }
            assert {(build.state, build.attempts) for build in builds} == {(BuildState.PENDING, 0)}
            (event,) = r.events_after(0)
            assert (event.run_id, event.kind, event.state, event.at) == (run.id, "run", "active", NOW)

    def test_nothing_of_a_submission_is_there_if_any_of_it_fails(self, store: Store) -> None:
        with store.transaction() as t:
            model = t.add_model(model_spec(), "ada", NOW)
        with pytest.raises(Exception, match=r"(?i)foreign"), store.transaction() as t:
            ghost = NewJob(PYTORCH, KEYS["pytorch"], None, "ghost", Scenario())
            t.add_run(run_spec(), model, [ghost], {KEYS["pytorch"]: PYTORCH}, "ada", NOW)
        with store.reading() as r:
            assert (r.runs(), r.builds(list(KEYS.values())), r.events_after(0)) == ([], [], [])

    def test_builds_are_shared_and_failed_ones_tried_again(self, store: Store) -> None:
        with store.transaction() as t:
            submit(t)
            t.set_build(KEYS["pytorch"], BuildState.BUILT, artifact=artifact(KEYS["pytorch"]), attempts=1)
            t.set_build(KEYS["onnxruntime"], BuildState.FAILED, failure=FAILURE, attempts=3)
            t.set_build(KEYS["reference"], BuildState.BUILDING, attempts=1)
            submit(t)
            builds = {build.recipe.name: build for build in t.builds(list(KEYS.values()))}
        assert builds["pytorch"].state is BuildState.BUILT
        assert builds["pytorch"].artifact == artifact(KEYS["pytorch"])
        assert builds["onnxruntime"].state is BuildState.PENDING
        assert (builds["onnxruntime"].failure, builds["onnxruntime"].attempts) == (None, 0)
        assert (builds["reference"].state, builds["reference"].attempts) == (BuildState.BUILDING, 1)

    def test_the_newest_first_and_in_pages(self, store: Store) -> None:
        with store.transaction() as t:
            ids = [submit(t).id for _ in range(5)]
            assert [run.id for run in t.runs()] == ids[::-1]
            assert [run.id for run in t.runs(limit=2)] == ids[:2:-1]
            assert [run.id for run in t.runs(limit=2, before=ids[3])] == [ids[2], ids[1]]
            t.set_run(ids[2], RunState.FINISHED, LATER)
            assert [run.id for run in t.runs_after(ids[0])] == [ids[1], ids[3], ids[4]]
            assert t.run(ids[2]).finished_at == LATER

    def test_cancelling_is_asked_for_once(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t)
            assert t.cancel_requests() == []
            assert t.request_cancel(run.id, NOW) == run
            t.request_cancel(run.id, LATER)
            assert t.cancel_requests() == [run.id]
            t.set_run(run.id, RunState.CANCELLED, LATER)
            assert t.cancel_requests() == []
            assert t.request_cancel(run.id, LATER).state is RunState.CANCELLED

    def test_a_finished_run_cannot_be_cancelled(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t)
            t.set_run(run.id, RunState.FINISHED, LATER)
            with pytest.raises(ConflictError):
                t.request_cancel(run.id, LATER)
            assert t.cancel_requests() == []


class TestJobs:
    def test_states_reasons_and_failures(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t)
            first, second = t.jobs(run.id)
            t.set_jobs([JobChange(first.id, JobState.LEASED, epoch=1)])
            t.set_jobs([JobChange(second.id, JobState.FAILED, "broken \0 pipe \ud83d", FAILURE)])
            assert t.job(first.id).epoch == 1
            failed = t.job(second.id)
            assert (failed.state, failed.epoch, failed.failure) == (JobState.FAILED, 0, FAILURE)
            assert failed.reason.startswith("broken \N{REPLACEMENT CHARACTER} pipe")
            assert t.run(run.id).jobs == {JobState.LEASED: 1, JobState.FAILED: 1}
            t.set_jobs([JobChange(first.id, JobState.RUNNING)])
            assert (t.job(first.id).epoch, t.job(first.id).reason) == (1, "")

    def test_thousands_change_together_each_with_its_event(self, store: Store) -> None:
        with store.transaction() as t:
            one, two = submit(t), submit(t)
            changes = [
                JobChange(job.id, JobState.QUEUED, f"why {job.id}") for job in (*t.jobs(two.id), *t.jobs(one.id))
            ]
            t.set_jobs(changes)
            seq = t.last_event_seq()
            t.append_job_events(changes, LATER)
            with pytest.raises(NotFoundError):
                t.set_jobs([changes[0], JobChange(99, JobState.QUEUED)])
            assert [job.reason for job in t.jobs(one.id)] == [f"why {job.id}" for job in t.jobs(one.id)]
            told = [(e.run_id, e.at, e.kind, e.subject, e.state, e.text) for e in t.events_after(seq)]
            run_ids = [two.id, two.id, one.id, one.id]
            assert told == [
                (run_id, LATER, "job", str(change.job_id), "queued", change.reason)
                for run_id, change in zip(run_ids, changes, strict=True)
            ]

    def test_what_a_lease_is_made_of(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t)
            first, _ = t.jobs(run.id)
            assert [job.id for job in t.open_jobs(run.id)] == [job.id for job in t.jobs(run.id)]
            t.set_jobs([JobChange(first.id, JobState.FINISHED, epoch=2)])
            (left,) = t.open_jobs(run.id)
            assert (left.state, left.build_key, left.reference_key) == (
                JobState.WAITING,
                KEYS["onnxruntime"],
                KEYS["reference"],
            )
            t.set_build(KEYS["reference"], BuildState.BUILT, artifact=artifact(KEYS["reference"]))
            parts = t.lease_parts(first.id)
            assert (parts.recipe, parts.scenario) == (PYTORCH, first.scenario)
            assert (parts.run, parts.model) == (run.spec, model_spec())
            assert (parts.artifact, parts.reference_artifact) == (None, artifact(KEYS["reference"]))

    def test_attempts_from_lease_to_end(self, store: Store) -> None:
        with store.transaction() as t:
            job = t.jobs(submit(t).id)[0]
            first = t.add_attempt(job.id, 1, "host-a", "local", NOW)
            (attempt,) = t.open_attempts()
            assert (attempt.id, attempt.state, attempt.leased_at, attempt.started_at) == (first, "leased", NOW, None)
            t.start_attempt(first, LATER)
            assert (t.open_attempts()[0].state, t.open_attempts()[0].started_at) == ("running", LATER)
            t.end_attempt(first, "failed", LATER, FAILURE)
            second = t.add_attempt(job.id, 2, "host-a", "local", LATER)
            t.end_attempt(second, "finished", LATER, measurement=blob("measurement.json"))
            assert t.open_attempts() == []
            failed, finished = t.attempts_of(job.id)
            assert (failed.state, failed.failure, failed.ended_at) == ("failed", FAILURE, LATER)
            assert (finished.epoch, finished.measurement) == (2, blob("measurement.json"))

    def test_an_epoch_has_one_attempt(self, store: Store) -> None:
        with pytest.raises(Exception, match=r"(?i)unique"), store.transaction() as t:
            job = t.jobs(submit(t).id)[0]
            t.add_attempt(job.id, 1, "host-a", "local", NOW)
            t.add_attempt(job.id, 1, "host-a", "local", NOW)

    def test_the_first_result_counts(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t, devices=("host-a", "host-b"))
            job = t.jobs(run.id)[0]
            assert t.samples_blob(job.id) is None
            assert t.add_result(result(job.id), blob("samples.parquet"))
        with store.transaction() as t:
            assert not t.add_result(result(job.id, sample_count=99), blob("other.parquet"))
            assert t.samples_blob(job.id) == blob("samples.parquet")
            t.set_build(job.build_key, BuildState.BUILT, artifact=artifact(job.build_key))
            outcomes = t.outcomes(run.id)
        assert [outcome.job.id for outcome in outcomes] == sorted(outcome.job.id for outcome in outcomes)
        assert [outcome.device.id for outcome in outcomes] == ["host-a", "host-a", "host-b", "host-b"]
        assert outcomes[0].result == result(job.id)
        assert outcomes[0].artifact == artifact(job.build_key)
        assert [outcome.result for outcome in outcomes[1:]] == [None] * 3
        assert outcomes[1].artifact is None

    def test_numbers_that_json_does_not_know_survive(self, store: Store) -> None:
        parity = Parity(
            samples=1,
            max_abs_error=math.inf,
            max_rel_error=math.inf,
            reference_abs_max=1.0,
            cosine=-math.inf,
            snr_db=math.nan,
        )
        with store.transaction() as t:
            run = submit(t)
            job = t.jobs(run.id)[0]
            t.add_result(result(job.id, parity=parity), blob("samples.parquet"))
        with store.reading() as r:
            kept = r.outcomes(run.id)[0].result
        assert kept is not None
        assert kept.parity is not None
        assert (kept.parity.max_abs_error, kept.parity.cosine) == (math.inf, -math.inf)
        assert math.isnan(kept.parity.snr_db)


class TestAgentEvents:
    def test_an_agent_event_is_committed_once(self, store: Store) -> None:
        with store.transaction() as t:
            assert t.record_agent_event("local", "j1", 1)
            assert t.record_agent_event("local", "j1", 2)
        with store.transaction() as t:
            assert not t.record_agent_event("local", "j1", 2)
            assert t.record_agent_event("local", "j2", 1)
            assert t.record_agent_event("other", "j1", 9)

    @given(st.data())
    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_an_agent_event_counts_once_whatever_is_acknowledged_or_repeated(
        self, store: Store, data: st.DataObject
    ) -> None:
        """A follower reads a journal, commits out of order, trims what is committed up to some number, and is lost."""
        journal, last = uuid.uuid4().hex, data.draw(st.integers(1, 8))
        counted: list[int] = []
        acknowledged = 0  # as the agent heard of it
        for _ in range(data.draw(st.integers(1, 4))):  # connections
            order = data.draw(st.permutations(range(acknowledged + 1, last + 1)))
            for seq in order[: data.draw(st.integers(0, len(order)))]:
                with store.transaction() as t:
                    if t.record_agent_event("local", journal, seq):
                        counted.append(seq)
                if data.draw(st.booleans()):
                    upto = next(n for n in range(1, last + 2) if n not in counted) - 1
                    with store.transaction() as t:
                        t.trim_agent_events("local", journal, upto)
                    acknowledged = max(acknowledged, data.draw(st.sampled_from([0, upto])))  # it may be lost
        with store.transaction() as t:
            repeated = [seq for seq in range(1, last + 1) if not t.record_agent_event("local", journal, seq)]
        assert sorted(counted) == repeated
        assert len(set(counted)) == len(counted)

    def test_what_is_acknowledged_leaves_no_row_behind(self, store: Store) -> None:
        with store.transaction() as t:
            for seq in (1, 2, 3, 5):
                t.record_agent_event("local", "j1", seq)
            t.record_agent_event("local", "j2", 1)
            t.trim_agent_events("local", "j1", 3)
            t.trim_agent_events("local", "j1", 2)  # an older acknowledgement, late
        with store.connected(writing=False) as connection:
            rows = connection.execute(sa.select(tables.agent_events).order_by("journal_id", "seq")).all()
        assert rows == [("local", "j1", 5), ("local", "j2", 1)]
        with store.transaction() as t:
            assert not t.record_agent_event("local", "j1", 3)
            assert t.record_agent_event("local", "j1", 4)

    def test_heartbeats(self, store: Store) -> None:
        with store.transaction() as t:
            assert t.heartbeat_age("coordinator", NOW) is None
            t.heartbeat("coordinator", NOW)
            assert t.heartbeat_age("coordinator", LATER) == 5.0
            t.heartbeat("coordinator", LATER)
            assert t.heartbeat_age("coordinator", LATER) == 0.0
            assert t.heartbeat_age("coordinator", NOW) == 0.0  # a clock that was set back


class TestEvents:
    def test_in_order_of_all_runs_or_of_one(self, store: Store) -> None:
        with store.transaction() as t:
            assert t.last_event_seq() == 0
            one, two = submit(t), submit(t)
            added = [t.append_event(run.id, "job", "1", "running", "text", LATER) for run in (one, two, one)]
            assert [event.seq for event in added] == sorted(event.seq for event in added)
            assert t.last_event_seq() == added[-1].seq
            assert t.events_after(added[0].seq) == added[1:]
            assert t.events_after(added[0].seq - 1, one.id) == [added[0], added[2]]
            assert t.events_after(0, limit=2) == t.events_after(0)[:2]

    def test_a_number_is_never_used_again(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t)
        with pytest.raises(KeyError), store.transaction() as t:
            t.append_event(run.id, "job", "1", "running", "", NOW)
            raise KeyError
        with store.transaction() as t:
            first = t.events_after(0)
            assert len(first) == 1
            assert t.append_event(run.id, "job", "1", "running", "", NOW).seq > first[0].seq


@pytest.mark.parametrize(
    "query",
    [
        lambda t: t.run(7),
        lambda t: t.job(7),
        lambda t: t.device("ghost"),
        lambda t: t.build("0" * 64),
        lambda t: t.lease_parts(7),
        lambda t: t.run_spec(7),
        lambda t: t.request_cancel(7, NOW),
        lambda t: t.set_run(7, RunState.FINISHED, NOW),
        lambda t: t.set_jobs([JobChange(7, JobState.FINISHED)]),
        lambda t: t.set_build("0" * 64, BuildState.BUILT),
        lambda t: set_device(t, "ghost", DeviceState.OFFLINE),
        lambda t: t.order_device("ghost", "drain", "ada", NOW),
        lambda t: t.reserve("ghost", "ada", "", NOW, LATER),
        lambda t: t.end_reservation("ghost", NOW),
        lambda t: t.start_attempt(7, NOW),
        lambda t: t.end_attempt(7, "failed", NOW),
    ],
)
def test_what_is_not_there_is_not_found(store: Store, query) -> None:
    with store.transaction() as t, pytest.raises(NotFoundError):
        query(t)


def test_lists_of_what_is_not_there_are_empty(store: Store) -> None:
    with store.reading() as r:
        assert (r.jobs(7), r.attempts_of(7), r.outcomes(7), r.builds([]), r.devices()) == ([], [], [], [], [])


def test_times_keep_their_instant(store: Store) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    with store.transaction() as t:
        t.upsert_device(device(), elsewhere)
        assert t.device("host-a").last_seen_at == NOW
    with pytest.raises(Exception, match="no time zone"), store.transaction() as t:
        t.upsert_device(device(), NOW.replace(tzinfo=None))
