"""Following a run: past events, live ones, the end, and what goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from farm.server.events import Tail
from farm.store.database import Store
from farm.types import Event, Role, Run, RunState
from tests.integration.server.conftest import LiveFarm, problem
from tests.integration.server.test_routes import submit
from tests.values import NOW


@dataclass
class Message:
    id: int
    event: str
    data: Event


def lines(response: httpx.Response) -> Iterator[str]:
    """Not ``iter_lines``: that one also ends lines at characters that JSON may hold."""
    pending = b""
    for chunk in response.iter_bytes():
        *whole, pending = (pending + chunk).split(b"\n")
        yield from (line.decode() for line in whole)


def messages(response: httpx.Response) -> Iterator[Message]:
    fields: dict[str, str] = {}
    for line in lines(response):
        if not line and "data" in fields:
            yield Message(int(fields["id"]), fields["event"], Event.model_validate_json(fields["data"]))
            fields = {}
        elif not line.startswith(":"):
            key, _, value = line.partition(": ")
            fields[key] = value


def follow(farm: LiveFarm, run: Run, **query: int) -> list[Message]:
    with farm.client(Role.VIEWER) as http, http.stream("GET", f"/runs/{run.id}/events", params=query) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(messages(response))


def append(farm: LiveFarm, run: Run, state: str, text: str = "") -> Event:
    with farm.store.transaction() as t:
        return t.append_event(run.id, "job", "1", state, text, NOW)


def finish(farm: LiveFarm, run: Run, state: RunState = RunState.FINISHED) -> Event:
    with farm.store.transaction() as t:
        t.set_run(run.id, state, NOW)
        return t.append_event(run.id, "run", str(run.id), state, "", NOW)


@pytest.fixture
def run(farm: LiveFarm) -> Run:
    farm.add_device()
    farm.add_model()
    return submit(farm)


def test_past_events_then_live_ones_until_the_end(farm: LiveFarm, run: Run) -> None:
    append(farm, run, "queued", "line one\nline two \N{LINE SEPARATOR} \N{SNOWMAN}")
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(follow, farm, run)
        time.sleep(0.5)
        append(farm, run, "running")
        finish(farm, run)
        seen = following.result(timeout=20)
    with farm.store.reading() as r:
        assert [message.data for message in seen] == r.events_after(0)
    assert [(message.id, message.event) for message in seen] == [(m.data.seq, m.data.kind) for m in seen]
    assert [message.data.state for message in seen] == ["active", "queued", "running", "finished"]


def test_a_live_event_arrives_within_a_moment(farm: LiveFarm, run: Run) -> None:
    with farm.client() as http, http.stream("GET", f"/runs/{run.id}/events") as response:
        incoming = messages(response)
        next(incoming)
        for _ in range(3):
            started = time.monotonic()
            append(farm, run, "running")
            next(incoming)
            assert time.monotonic() - started < 2


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.CANCELLED])
def test_a_run_that_is_over_is_replayed_and_ends(farm: LiveFarm, run: Run, state: RunState) -> None:
    last = finish(farm, run, state)
    assert [message.data.state for message in follow(farm, run)] == ["active", state]
    assert follow(farm, run, after=last.seq) == []


def test_going_on_where_one_was(farm: LiveFarm, run: Run) -> None:
    first, second = append(farm, run, "queued"), append(farm, run, "running")
    last = finish(farm, run)
    assert [message.id for message in follow(farm, run, after=first.seq)] == [second.seq, last.seq]
    with farm.client() as http:
        response = http.get(f"/runs/{run.id}/events", headers={"Last-Event-ID": str(second.seq)})
        assert [message.id for message in messages(response)] == [last.seq]
        problem(http.get(f"/runs/{run.id}/events", headers={"Last-Event-ID": "x"}), 422, "bad-request")


def test_a_long_history_comes_whole(farm: LiveFarm, run: Run) -> None:
    with farm.store.transaction() as t:
        added = [t.append_event(run.id, "job", "1", "running", str(n), NOW).seq for n in range(1234)]
    finish(farm, run)
    assert [message.id for message in follow(farm, run)][1:-1] == added


def test_an_unknown_run(farm: LiveFarm) -> None:
    with farm.client() as http:
        problem(http.get("/runs/99/events"), 404, "not-found")


def test_followers_of_several_runs_get_theirs_and_miss_none(farm: LiveFarm, run: Run) -> None:
    """Followers come while events are being written; each must see all of its run's, in order."""
    runs = [run, submit(farm)]

    def write() -> None:
        for number in range(60):
            for one in runs:
                append(farm, one, "running", str(number))
            time.sleep(0.01)
        for one in runs:
            finish(farm, one)

    writer = threading.Thread(target=write)
    with ThreadPoolExecutor(12) as pool:
        writer.start()
        following = []
        for number in range(12):
            following.append((runs[number % 2], pool.submit(follow, farm, runs[number % 2])))
            time.sleep(0.05)
        seen = [(one, future.result(timeout=60)) for one, future in following]
        writer.join()
    with farm.store.reading() as r:
        for one, got in seen:
            assert [message.data for message in got] == r.events_after(0, one.id)


def test_a_database_that_is_away_for_a_while_breaks_no_stream(farm: LiveFarm, run: Run) -> None:
    def alter(statement: str) -> None:
        with sqlite3.connect(farm.settings.state_dir / "farm.db", timeout=10) as connection:
            connection.execute(statement)
        connection.close()

    with farm.client() as http, http.stream("GET", f"/runs/{run.id}/events") as response:
        incoming = messages(response)
        next(incoming)
        alter("ALTER TABLE events RENAME TO gone")
        time.sleep(0.5)
        alter("ALTER TABLE gone RENAME TO events")
        last = finish(farm, run)
        assert [message.id for message in incoming] == [last.seq]


def test_one_reader_serves_all_and_rests_when_nobody_follows(farm: LiveFarm, run: Run) -> None:
    def pollers() -> int:
        return sum(task.get_name() == "event tail" for task in asyncio.all_tasks())

    async def watch() -> None:
        tail = Tail(farm.store)
        assert pollers() == 0
        streams = [tail.follow(run.id, 0) for _ in range(5)]
        assert {(await anext(stream)).state for stream in streams} == {"active"}
        assert pollers() == 1
        for stream in streams:
            await stream.aclose()
        await asyncio.sleep(0)
        assert pollers() == 0
        again = tail.follow(run.id, 0)
        await anext(again)
        assert pollers() == 1
        pending = asyncio.create_task(anext(again, None))
        await asyncio.sleep(0.2)
        await tail.close()
        assert await asyncio.wait_for(pending, 5) is None

    asyncio.run(watch())


def test_a_follower_that_hangs_up_is_forgotten(farm: LiveFarm, run: Run) -> None:
    for _ in range(5):
        with farm.client() as http, http.stream("GET", f"/runs/{run.id}/events") as response:
            next(messages(response))
    finish(farm, run)
    assert len(follow(farm, run)) == 2


def test_a_store_mistake_ends_the_streams_instead_of_hanging_them(farm: LiveFarm, run: Run, caplog) -> None:
    class Broken(Store):
        def reading(self):
            raise ValueError("a bug")

    async def watch() -> list[Event]:
        tail = Tail(Broken(farm.settings.resolved_database_url))
        return [event async for event in tail.follow(run.id, 0)]

    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(watch())
    assert "broke off" in caplog.text


def test_the_stream_is_json_lines_for_curl(farm: LiveFarm, run: Run) -> None:
    finish(farm, run)
    with farm.client() as http:
        got = http.get(f"/runs/{run.id}/events").text.split("\n")
    assert got[0].startswith("id: ")
    assert got[1] == "event: run"
    assert json.loads(got[2].removeprefix("data: "))["state"] == "active"
