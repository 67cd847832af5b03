"""What is known of devices, who has them, and what people ask of them, on every database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from farm.errors import ConflictError, NotFoundError
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import DeviceCheck, DeviceHealth, DeviceState, Scenario
from tests.integration.store.test_transaction import FAILURE, KEYS, PYTORCH, set_device, submit
from tests.values import NOW, device, model_spec, run_spec

MINUTE = timedelta(minutes=1)


class TestWhatIsKnown:
    def test_of_a_known_device_its_agent_says_what_it_is_and_the_head_how(self, store: Store) -> None:
        said = device(cpu_count=8, host="other").model_copy(
            update={"blocked": "too hot: 41.2 °C > 35 °C", "recovery": ("reboot",), "hooks": ("pre-lease",)}
        )
        with store.transaction() as t:
            t.upsert_device(device(labels={"rack": "7"}), NOW)
            t.upsert_device(device("host-b"), NOW)
            assert t.device("host-a").health is DeviceHealth.UNKNOWN
            set_device(
                t,
                "host-a",
                DeviceState.LEASED,
                health=DeviceHealth.BAD,
                health_reason="reboot: no answer",
                failures=3,
                maintenance="new battery",
            )
            t.upsert_device(said, NOW + MINUTE)
            assert t.device("host-a") == said.model_copy(
                update={
                    "state": DeviceState.LEASED,
                    "health": DeviceHealth.BAD,
                    "health_reason": "reboot: no answer",
                    "failures": 3,
                    "maintenance": "new battery",
                    "last_seen_at": NOW + MINUTE,
                }
            )
            assert [(d.id, d.state) for d in t.devices()] == [
                ("host-a", DeviceState.LEASED),
                ("host-b", DeviceState.ONLINE),
            ]

    def test_one_line_of_an_agent_speaks_for_its_devices_until_they_are_offline(self, store: Store) -> None:
        with store.transaction() as t:
            for name in ("a", "b"):
                t.upsert_device(device(name, agent="lab"), NOW)
            t.upsert_device(device("c", agent="elsewhere"), NOW)
            t.hear_agent("lab", NOW + MINUTE)
            assert [d.last_seen_at for d in t.devices()] == [NOW + MINUTE, NOW + MINUTE, NOW]
            set_device(t, "b", DeviceState.OFFLINE)
            t.hear_agent("lab", NOW + 2 * MINUTE)
            set_device(t, "b", DeviceState.OFFLINE)
            assert t.device("a").last_seen_at == NOW + 2 * MINUTE
            assert t.device("b").last_seen_at == NOW + MINUTE, "seen last when it went"
            t.upsert_device(device("b", agent="lab"), NOW + 3 * MINUTE)
            assert t.device("b").last_seen_at == NOW + 3 * MINUTE
            assert t.heartbeat_age("lab", NOW) is None, "agents are no processes of the head"

    def test_all_go_offline_at_once(self, store: Store) -> None:
        with store.transaction() as t:
            t.upsert_device(device("a", agent="lab"), NOW)
            t.upsert_device(device("b", agent="elsewhere"), NOW)
            t.hear_agent("lab", NOW + MINUTE)
            t.all_devices_offline()
            t.hear_agent("lab", NOW + 2 * MINUTE)
            t.all_devices_offline()
            assert {d.state for d in t.devices()} == {DeviceState.OFFLINE}
            assert [d.last_seen_at for d in t.devices()] == [NOW + MINUTE, NOW]

    def test_the_newest_checks_are_kept(self, store: Store) -> None:
        def check(id: str, number: int) -> DeviceCheck:
            at = NOW + number * MINUTE
            return DeviceCheck(device_id=id, at=at, step="reboot", passed=number > 3, detail=f"{number}", seconds=0.5)

        with store.transaction() as t:
            t.upsert_device(device("a"), NOW)
            t.upsert_device(device("b"), NOW)
            t.add_device_check(check("b", 0))
            for number in range(60):
                t.add_device_check(check("a", number))
        with store.reading() as r:
            assert r.device_checks("a", limit=2) == [check("a", 59), check("a", 58)]
            assert len(r.device_checks("a", limit=100)) == 50
            assert r.device_checks("b") == [check("b", 0)]


class TestReservations:
    def test_one_person_at_a_time(self, store: Store) -> None:
        with store.transaction() as t:
            t.upsert_device(device("a"), NOW)
            t.upsert_device(device("b"), NOW)
            made = t.reserve("a", "ada", "battery drain", NOW, NOW + 60 * MINUTE)
            assert (made.user, made.reason, made.until) == ("ada", "battery drain", NOW + 60 * MINUTE)
            with pytest.raises(ConflictError, match=r"ada has reserved device a until 2026-03-01 13:30 UTC \(battery"):
                t.reserve("a", "bob", "", NOW + MINUTE, NOW + 2 * MINUTE)
            t.reserve("b", "bob", "", NOW, NOW + MINUTE)
        with store.reading() as r:
            assert r.reservation("a", NOW) == made
            assert [each.device_id for each in r.reservations(NOW)] == ["a", "b"]
            assert r.reservations(NOW, user="ada") == [made]
            assert r.reservation("b", NOW + MINUTE) is None, "its time is over"

    def test_the_same_person_extends_it_and_gives_it_back(self, store: Store) -> None:
        with store.transaction() as t:
            t.upsert_device(device("a"), NOW)
            made = t.reserve("a", "ada", "battery drain", NOW, NOW + 60 * MINUTE)
            extended = t.reserve("a", "ada", "", NOW + MINUTE, NOW + 90 * MINUTE)
            assert extended == made.model_copy(update={"until": NOW + 90 * MINUTE})
            assert t.reserve("a", "ada", "", NOW + MINUTE, NOW + 2 * MINUTE) == extended, "never cut short"
            assert t.reservations(NOW) == [extended]
            t.end_reservation("a", NOW + 5 * MINUTE)
            assert t.reservation("a", NOW + 5 * MINUTE) is None
            with pytest.raises(NotFoundError, match="not reserved"):
                t.end_reservation("a", NOW + 6 * MINUTE)
            assert t.reserve("a", "bob", "", NOW + 6 * MINUTE, NOW + 7 * MINUTE).user == "bob"


def test_orders_wait_until_they_are_carried_out(store: Store) -> None:
    with store.transaction() as t:
        t.upsert_device(device("a"), NOW)
        drain = t.order_device("a", "drain", "ada", NOW, "new battery")
        resume = t.order_device("a", "resume", "ada", NOW + MINUTE)
    with store.transaction() as t:
        assert t.device_orders() == [drain, resume]
        t.drop_order(drain.id)
        assert t.device_orders() == [resume]
        t.drop_order(resume.id)
        assert t.order_device("a", "check", "ada", NOW).id > resume.id, "a number means one order for ever"


class TestPools:
    def test_a_run_keeps_what_its_jobs_choose_from(self, store: Store) -> None:
        with store.transaction() as t:
            for id in ("a", "b", "c"):
                t.upsert_device(device(id), NOW)
            model = t.add_model(model_spec(), "ada", NOW)
            jobs = [NewJob(PYTORCH, KEYS["pytorch"], None, id, Scenario(), pool=1, slot=n) for n, id in enumerate("ab")]
            pools = {1: ("a", "b", "c")}
            run = t.add_run(run_spec(), model, jobs, {KEYS["pytorch"]: PYTORCH}, "ada", NOW, pools)
            assert t.pools(run.id) == pools
            assert t.pools(run.id + 1) == {}
            assert [(job.pool, job.slot, job.device_id) for job in t.jobs(run.id)] == [(1, 0, "a"), (1, 1, "b")]
            t.move_jobs([t.jobs(run.id)[1].id], "c")
            assert [job.device_id for job in t.jobs(run.id)] == ["a", "c"]


class TestAttempts:
    def test_who_has_a_device_and_how_long_jobs_took_there(self, store: Store) -> None:
        with store.transaction() as t:
            run = submit(t, devices=("a", "b"))
            first, second, elsewhere, _ = t.jobs(run.id)
            assert t.holder("a") is None
            for number, seconds in enumerate((30, 50), 1):
                one = t.add_attempt(first.id, number, "a", "lab", NOW)
                assert [attempt.id for attempt in [t.holder("a")] if attempt] == [one]
                t.end_attempt(one, "finished", NOW + timedelta(seconds=seconds))
            t.end_attempt(t.add_attempt(second.id, 1, "a", "lab", NOW), "failed", NOW + MINUTE, FAILURE)
            t.end_attempt(t.add_attempt(elsewhere.id, 1, "b", "lab", NOW), "finished", NOW + MINUTE)
            assert t.holder("a") is None
            assert t.job_seconds("a") == [50.0, 30.0]
            assert t.job_seconds("a", limit=1) == [50.0]
