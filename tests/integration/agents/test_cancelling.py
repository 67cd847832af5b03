"""An attempt that is cancelled, in whatever state, leaves its device clean for the next one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.agent import Agent
from tests.integration.agents.test_agent import ENDLESS, Bench, harness_processes_of
from tests.integration.agents.test_hooks import COMMAND, end, home, log_of, processes_of, until

__all__ = ["home"]
pytestmark = pytest.mark.real_models


@pytest.fixture
def silent_head() -> Iterator[socket.socket]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


STATES = ["accepted", "pre-lease", "fetching", "launched", "running", "post-lease"]


@pytest.mark.parametrize("state", STATES)
def test_cancelled_it_leaves_the_device_clean(
    tmp_path: Path, home: Path, silent_head: socket.socket, state: str
) -> None:
    bench = Bench(tmp_path)
    bench.settings = bench.settings.model_copy(
        update={
            "url": "http://{}:{}".format(*silent_head.getsockname()),
            "agent_hook_pre_lease": COMMAND,
            "agent_hook_post_lease": COMMAND,
        }
    )
    model = bench.store.local_path(bench.model.sha256)
    assert model is not None
    if state == "fetching":
        model.rename(tmp_path / "elsewhere")
    if state == "pre-lease":
        (home / state).write_text("sleep 60 & sleep 60")
    if state == "post-lease":
        (home / state).write_text('sleep 0.5; echo "clean $FARM_ATTEMPT_ID" >> "$HOME/log"')

    connections: list[socket.socket] = []

    async def reached(agent: Agent) -> None:
        if state in ("pre-lease", "post-lease"):
            await until(home, f"{state} 1")
        elif state == "fetching":
            connections.append((await asyncio.get_running_loop().sock_accept(silent_head))[0])
        elif state in ("launched", "running"):
            assert (await agent.events(0, 20))[0].kind == "started"
            records = bench.settings.state_dir / "agents" / "bench" / "attempts" / "1" / "records.jsonl"
            while state == "running" and not (records.exists() and records.stat().st_size):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease(1) if state == "post-lease" else bench.lease(1, ENDLESS))
            if state != "accepted":  # nothing of it has run yet
                await asyncio.wait_for(reached(agent), 30)
            assert agent.reconcile({}) == []
            event = await end(agent, 1)
            assert event.kind == ("measured" if state == "post-lease" else "failed")
            assert event.device_failure is None
            assert processes_of(home) == []
            assert harness_processes_of(bench) == []
            attempts = bench.settings.state_dir / "agents" / "bench" / "attempts"
            assert not attempts.exists() or not list(attempts.iterdir())
            begun = {"accepted": [], "post-lease": ["pre-lease 1", "post-lease 1", "clean 1"]}
            assert log_of(home) == begun.get(state, ["pre-lease 1", "post-lease 1"])
            for hook in ("pre-lease", "post-lease"):
                (home / hook).unlink(missing_ok=True)
            if state == "fetching":
                (tmp_path / "elsewhere").rename(model)
            agent.start(bench.lease(2))
            assert (await end(agent, 2)).kind == "measured"

    asyncio.run(scene())
    for connection in connections:
        connection.close()
