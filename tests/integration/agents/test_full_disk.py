"""The disk of the agent is full: what it measured meanwhile is kept, and told once there is room."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.agent import Agent
from tests.integration.agents.test_virtual_fleet import ends, on_device, settings

RUN_SECONDS = 1.5  # more than a measurement takes


@contextmanager
def full_disk(agent: Agent) -> Iterator[None]:
    """SQLite's own limit gives the same error, and needs no disk."""
    database = agent._journal._db
    database.execute("CREATE TABLE IF NOT EXISTS filler (bytes)")
    database.execute("PRAGMA max_page_count=1")  # as few as there are
    while True:
        try:
            database.execute("INSERT INTO filler VALUES (zeroblob(100))")
        except sqlite3.OperationalError as error:
            assert "full" in str(error)
            break
    yield
    with contextlib.suppress(sqlite3.ProgrammingError):  # closed meanwhile
        database.execute("PRAGMA max_page_count=100000")


def test_a_result_waits_for_room_while_its_lease_is_renewed(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 1))
        agent.start(on_device(0))
        (started,) = await agent.events(0, 10)
        with full_disk(agent):
            await asyncio.sleep(RUN_SECONDS)
            assert await agent.events(started.seq, 0.1) == []
            assert agent.reconcile({1: 60}) == [1], "the head renews it"
            agent.acknowledge(started.seq)
        (measured,) = await ends(agent, 1)
        assert measured.measurement is not None
        assert agent.reconcile({1: 60}) == []
        await asyncio.sleep(1)
        assert [event.kind for event in await agent.events(0, 0.1)] == ["measured"], "told before, and not again"
        await agent.close()

    asyncio.run(scene())


def test_a_withdrawn_result_frees_its_device_and_is_told_all_the_same(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 1))
        agent.start(on_device(0))
        await agent.events(0, 10)
        with full_disk(agent):
            await asyncio.sleep(RUN_SECONDS)
            assert agent.reconcile({}) == [], "the head gave it up"
        again = on_device(0).model_copy(update={"attempt_id": 2, "epoch": 2})
        agent.start(again)
        first, second = await ends(agent, 2)
        assert [(first.attempt_id, second.attempt_id)] == [(1, 2)]
        assert first.measurement is not None, "not replaced by the news of its withdrawal"
        await agent.close()

    asyncio.run(scene())


def test_an_end_that_was_not_written_is_known_to_be_missing_after_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 1))
        agent.start(on_device(0))
        await agent.events(0, 10)
        with full_disk(agent):
            await asyncio.sleep(RUN_SECONDS)
            await agent.close()
        again = Agent(settings(tmp_path, 1))
        (measured,) = await ends(again, 1)
        assert measured.measurement is not None
        await again.close()

    asyncio.run(scene())
