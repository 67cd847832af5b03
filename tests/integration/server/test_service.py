"""Service of devices, quotas, and why jobs wait, over real HTTP."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from farm.config import Settings
from farm.coordinator.nudge import Nudge
from farm.store.devices import DeviceChange
from farm.store.transaction import JobChange
from farm.types import (
    DeviceCheck,
    DeviceDetails,
    DeviceHealth,
    DeviceOrder,
    DeviceState,
    JobState,
    JobWait,
    Reservation,
    Role,
)
from tests.integration.client.head import coordinator
from tests.integration.server.conftest import RUNTIMES, LiveFarm, problem, serve
from tests.integration.server.test_routes import spec, submit
from tests.values import device


@pytest.fixture
def ready(farm: LiveFarm) -> LiveFarm:
    farm.add_device()
    farm.add_model()
    return farm


def orders(farm: LiveFarm) -> list[tuple[str, str, str, str]]:
    with farm.store.reading() as r:
        return [(one.device_id, one.kind, one.by, one.reason) for one in r.device_orders()]


class TestDetails:
    def test_everything_known_of_a_device(self, ready: LiveFarm) -> None:
        at = datetime.now(UTC)
        check = DeviceCheck(device_id="host-a", at=at, step="reboot", passed=False, detail="no answer", seconds=61.5)
        run = submit(ready)
        with ready.store.transaction() as t:
            t.add_device_check(check)
            change = DeviceChange(
                "host-a", DeviceState.LEASED, DeviceHealth.BAD, "reboot: no answer", 3, maintenance="new battery"
            )
            t.set_devices([change])
            attempt = t.add_attempt(t.jobs(run.id)[0].id, 1, "host-a", "local", at)
            reservation = t.reserve("host-a", "ada", "battery drain", at, at + timedelta(hours=1))
        with ready.client(Role.VIEWER) as http:
            shown = DeviceDetails.model_validate(http.get("/devices/host-a/details").json())
            problem(http.get("/devices/nokia/details"), 404, "not-found")
        assert (shown.device.health, shown.device.failures, shown.device.maintenance) == ("bad", 3, "new battery")
        assert shown.holder is not None
        assert shown.holder.id == attempt
        assert (shown.reservation, shown.checks) == (reservation, (check,))


class TestOrders:
    @pytest.mark.parametrize("kind", ["drain", "maintain", "resume", "check", "loop"])
    def test_an_admin_orders(self, ready: LiveFarm, kind: str) -> None:
        with ready.client(Role.ADMIN) as http:
            response = http.post("/devices/host-a/orders", json={"kind": kind, "reason": "new battery"})
        assert response.status_code == 201, response.text
        assert DeviceOrder.model_validate(response.json()).kind == kind
        assert orders(ready) == [("host-a", kind, "the-admin", "new battery")]

    def test_what_is_refused(self, ready: LiveFarm) -> None:
        with ready.client() as http:
            problem(http.post("/devices/host-a/orders", json={"kind": "drain"}), 403, "forbidden")
        with ready.client(Role.ADMIN) as http:
            problem(http.post("/devices/nokia/orders", json={"kind": "drain"}), 404, "not-found")
            problem(http.post("/devices/host-a/orders", json={"kind": "reserve"}), 422, "bad-request")
        assert orders(ready) == []

    def test_the_coordinator_is_woken(self, ready: LiveFarm) -> None:
        async def woken_by(client: httpx.Client, method: str, path: str, **body: Any) -> None:
            woken = asyncio.Event()
            with Nudge(ready.settings.state_dir).listen(woken) as receiver:
                response = await asyncio.to_thread(client.request, method, path, **body)
                assert response.is_success, response.text
                await asyncio.wait_for(woken.wait(), 5)
                asyncio.get_running_loop().remove_reader(receiver.fileno())

        with ready.client(Role.ADMIN) as http:
            asyncio.run(woken_by(http, "POST", "/devices/host-a/orders", json={"kind": "check"}))
            asyncio.run(woken_by(http, "POST", "/devices/host-a/reservation", json={"seconds": 9}))
            asyncio.run(woken_by(http, "DELETE", "/devices/host-a/reservation"))


class TestReservations:
    def test_reserve_extend_release(self, ready: LiveFarm) -> None:
        with ready.client() as http:
            first = Reservation.model_validate(
                http.post("/devices/host-a/reservation", json={"seconds": 600, "reason": "battery drain"}).json()
            )
            assert first.user == "the-user"
            assert first.until - first.created_at == timedelta(seconds=600)
            longer = Reservation.model_validate(http.post("/devices/host-a/reservation", json={"seconds": 1200}).json())
            assert (longer.id, longer.reason) == (first.id, "battery drain")
            assert longer.until > first.until
            assert http.delete("/devices/host-a/reservation").status_code == 204
            assert http.get("/devices/host-a/details").json()["reservation"] is None
            problem(http.delete("/devices/host-a/reservation"), 404, "not-found")
        assert orders(ready) == [
            ("host-a", "reserve", "the-user", "battery drain"),
            ("host-a", "reserve", "the-user", ""),
            ("host-a", "reserve", "the-user", ""),
        ]

    def test_it_belongs_to_one_and_admins_may_end_it(self, ready: LiveFarm) -> None:
        with ready.client() as http, ready.client(Role.ADMIN) as admin, ready.client(Role.VIEWER) as viewer:
            assert http.post("/devices/host-a/reservation", json={"seconds": 600}).status_code == 201
            taken = problem(admin.post("/devices/host-a/reservation", json={"seconds": 600}), 409, "conflict")
            assert "the-user has reserved device host-a until" in taken.detail
            problem(viewer.post("/devices/host-a/reservation", json={"seconds": 600}), 403, "forbidden")
            assert admin.delete("/devices/host-a/reservation").status_code == 204
            assert admin.post("/devices/host-a/reservation", json={"seconds": 600}).status_code == 201
            refused = problem(http.delete("/devices/host-a/reservation"), 403, "forbidden")
            assert "the-admin" in refused.detail
            problem(http.post("/devices/nokia/reservation", json={"seconds": 600}), 404, "not-found")
            problem(http.delete("/devices/nokia/reservation"), 404, "not-found")

    @pytest.mark.parametrize("seconds", [0, -1, "an hour", 1e300])
    def test_a_time_that_is_none(self, ready: LiveFarm, seconds: object) -> None:
        with ready.client() as http:
            problem(http.post("/devices/host-a/reservation", json={"seconds": seconds}), 422, "bad-request")


class TestQuotas:
    def test_jobs_that_have_not_ended(self, tmp_path) -> None:
        with serve(Settings(state_dir=tmp_path, jobs_per_user=3)) as farm:
            farm.add_device(device(runtimes=RUNTIMES))
            farm.add_model()
            run = submit(farm)
            submit(farm, role=Role.ADMIN)  # somebody else's do not count
            with farm.client() as http:
                over = problem(http.post("/runs", content=spec().model_dump_json()), 429, "over-quota")
            assert over.detail == (
                "A user has at most 3 jobs that have not ended; the-user has 2, and this would be 2 more."
            )
            assert over.details == {"quota": 3, "used": 2, "wanted": 2}
            with farm.store.transaction() as t:
                t.set_jobs([JobChange(t.jobs(run.id)[0].id, JobState.FINISHED)])
            submit(farm)

    def test_devices_reserved(self, tmp_path) -> None:
        with serve(Settings(state_dir=tmp_path, devices_per_user=1, reservation_max_seconds=900)) as farm:
            farm.add_device()
            farm.add_device(device("host-b"))
            with farm.client() as http:
                assert http.post("/devices/host-a/reservation", json={"seconds": 600}).status_code == 201
                assert http.post("/devices/host-a/reservation", json={"seconds": 900}).status_code == 201
                over = problem(http.post("/devices/host-b/reservation", json={"seconds": 9}), 429, "over-quota")
                assert "at most 1 devices reserved; the-user has 1 (host-a)" in over.detail
                long = problem(http.post("/devices/host-a/reservation", json={"seconds": 901}), 429, "over-quota")
                assert "at most 900 s; 901 s were asked for" in long.detail


class TestWaits:
    def test_the_coordinator_says_so_now(self, ready: LiveFarm) -> None:
        run = submit(ready)
        with ready.store.transaction() as t:
            first, second = t.jobs(run.id)
            t.set_jobs([JobChange(first.id, JobState.RUNNING)])
            t.set_jobs([JobChange(second.id, JobState.QUEUED, "queued behind run 12")])
        told = JobWait(job_id=second.id, text="1 device matches: leased by run 12", starts_in_seconds=61.5, live=True)
        answers = {second.id: told}
        with ready.client(Role.VIEWER) as http, coordinator(ready.settings.state_dir, answers):
            live = JobWait.model_validate(http.get(f"/jobs/{second.id}/wait").json())
            assert live == told
            assert http.get(f"/runs/{run.id}/waits").json() == [live.model_dump()]
            assert "it is running" in problem(http.get(f"/jobs/{first.id}/wait"), 409, "conflict").detail
            problem(http.get("/jobs/99/wait"), 404, "not-found")
            problem(http.get("/runs/99/waits"), 404, "not-found")

    def test_without_it_what_it_wrote_down_last(self, ready: LiveFarm) -> None:
        run = submit(ready)
        with ready.store.transaction() as t:
            first, second = t.jobs(run.id)
            t.set_jobs([JobChange(second.id, JobState.QUEUED, "queued behind run 12")])
        with ready.client(Role.VIEWER) as http:
            waits = [JobWait.model_validate(one) for one in http.get(f"/runs/{run.id}/waits").json()]
        assert [(wait.job_id, wait.text, wait.starts_in_seconds, wait.live) for wait in waits] == [
            (first.id, "its artifact is not built yet", None, False),
            (second.id, "queued behind run 12", None, False),
        ]

    def test_of_a_large_run_the_first_500(self, ready: LiveFarm) -> None:
        for number in range(300):
            ready.add_device(device(f"d{number:03}", runtimes=RUNTIMES))
        run = submit(ready, devices="each")
        with ready.client(Role.VIEWER) as http:
            waits = http.get(f"/runs/{run.id}/waits").json()
        with ready.store.reading() as r:
            assert [wait["job_id"] for wait in waits] == [job.id for job in r.jobs(run.id)][:500]

    def test_a_choice_of_devices_is_kept_with_the_run(self, ready: LiveFarm) -> None:
        ready.add_device(device("host-b", runtimes=RUNTIMES))
        run = submit(ready, devices="any(1)")
        with ready.store.reading() as r:
            assert r.pools(run.id) == {1: ("host-a", "host-b")}
            assert {(job.pool, job.slot) for job in r.jobs(run.id)} == {(1, 0)}
